"""The SpeechPrune paper's tables and figures, one command each, with the paper's own figures beside."""
