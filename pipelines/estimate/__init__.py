"""Estimates of a run before it starts, from what earlier runs have taken (`submit --plan`, `run --plan`)."""
