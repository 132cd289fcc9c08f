"""Training: text to read aloud, synthesized speech, the connector and the language model."""
