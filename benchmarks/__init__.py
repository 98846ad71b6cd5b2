"""Benchmarks of speed and learning: one script per claim. Results are in results/; the last line is ratio and goal."""
