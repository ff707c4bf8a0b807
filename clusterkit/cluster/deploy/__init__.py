"""Brings one Nomad job to what its file says, and tells a person what became of it."""
