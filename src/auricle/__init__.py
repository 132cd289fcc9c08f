"""Speech LLMs on long recordings."""
