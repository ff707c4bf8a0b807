"""The agent's HTTP side: the OpenAI endpoint, messages, event feed and the chat page."""
