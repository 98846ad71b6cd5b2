"""What a run says of itself while it works: logs, progress, history files, Prometheus metrics."""
