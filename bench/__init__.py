"""Measurements against limits; how to run them and what they mean: docs/bench.md."""
