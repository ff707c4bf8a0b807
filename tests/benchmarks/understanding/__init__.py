"""How well a household understands what is said to it: agent, tools, gateway and model together."""
