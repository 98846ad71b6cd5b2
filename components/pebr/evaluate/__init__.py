"""Evaluate: scores of a model on benchmarks by rule, and its perception rewards."""
