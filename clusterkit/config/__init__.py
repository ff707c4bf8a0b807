"""Configuration: settings from the environment, YAML and TOML files with positions, the expert catalogue."""
