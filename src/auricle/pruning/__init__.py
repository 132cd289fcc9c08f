"""Which speech tokens to keep: one file a method, all under one contract."""
