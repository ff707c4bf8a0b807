"""Serving HTTP: the listener, guards, health, errors in one shape, the wire format of OpenAI."""
