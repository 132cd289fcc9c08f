"""Speech-XL: Speech Summarization Tokens (SSTs) stand for intervals of speech in the LLM's memory."""
