"""Filter: reads a dataset in its public format, rejects unusable rows with the reason, writes Parquet shards."""
