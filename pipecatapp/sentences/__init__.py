"""Exact commands: sentence templates in YAML that name a tool, matched without a model."""
