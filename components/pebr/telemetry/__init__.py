"""Logs, progress, history files and Prometheus metrics of a run."""
