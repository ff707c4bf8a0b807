"""Node types: one file each, found through the registry."""
