"""Row types and schemas, Parquet shards, images, readers of the public formats."""
