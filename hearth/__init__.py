"""The `hearth` command, and the composition of all services on one machine."""
