"""The agent: workflow runs, tools, the web page and the API that talk to a person."""
