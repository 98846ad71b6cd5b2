"""Object storage: one contract, kept by a folder and by an S3 bucket."""
