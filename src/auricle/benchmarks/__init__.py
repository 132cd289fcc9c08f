"""Benchmarks: each yields samples, one recording in memory at a time."""
