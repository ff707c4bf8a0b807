"""What a person says and hears: turns, the conversation they belong to, messages answered later."""
