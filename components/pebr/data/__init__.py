"""Records and their schemas, Parquet shards, images, readers of the public formats, object storage."""
