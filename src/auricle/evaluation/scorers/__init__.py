"""Scorers: from answers to the figures of a task, each with an interval."""
