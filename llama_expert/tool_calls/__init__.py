"""Proper `tool_calls` from models that write their calls as text, or cannot be trusted to make any."""
