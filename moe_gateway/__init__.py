"""The OpenAI-compatible front door: one address for the agent and for every expert."""
