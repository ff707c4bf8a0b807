"""Bringing files here, from addresses and from packages of a registry; checked before they get names."""
