"""Hearth on this machine: its services as child processes of one launcher."""
