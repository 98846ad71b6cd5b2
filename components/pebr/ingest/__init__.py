"""Ingest: brings a dataset, benchmarks or a model (toy://, a path, s3://, hf://) into the pipeline."""
