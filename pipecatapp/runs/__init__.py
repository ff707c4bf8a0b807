"""Carrying out workflows: the runner, its events and its records."""
