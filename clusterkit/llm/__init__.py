"""Asking models: the call, the reply, and the client that speaks to the gateway."""
