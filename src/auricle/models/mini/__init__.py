"""auricle-mini: a small Speech LLM of our own, from a Whisper base encoder, a connector and SmolLM2-135M."""
