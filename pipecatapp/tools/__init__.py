"""Tools: what the agent can do besides talking. Each declares its risk."""
