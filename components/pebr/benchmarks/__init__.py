"""Benchmarks: the rules that score them, and which rows of them a validation asks."""
