"""Evaluation: `Sample -> answer -> Record (log) -> Score -> metric -> report`. Scoring a log needs no model."""
