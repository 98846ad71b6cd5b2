"""Ingest: bring a dataset, a benchmark or a model from where it is named (toy://, a path, s3://, hf://) to the DAG."""
