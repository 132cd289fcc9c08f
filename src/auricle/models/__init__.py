"""One adapter a file: how each Speech LLM encodes audio, writes its prompt and names its first layer."""
