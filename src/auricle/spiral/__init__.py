"""SPIRAL: outline -> dialogue -> synthesize -> check -> package, each step resumable (the paper's section 1.2)."""
