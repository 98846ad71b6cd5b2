"""Evaluate: rule-scored benchmarks and perception rewards of one model."""
