"""Filter: read a dataset in its public format, set unusable rows aside with the reason, write Parquet shards."""
