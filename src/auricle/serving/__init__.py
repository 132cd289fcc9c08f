"""`auricle serve`: an OpenAI-compatible server for questions about long recordings."""
