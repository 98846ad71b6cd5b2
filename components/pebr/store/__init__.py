"""Object storage with one interface and two implementations: a folder and an S3 bucket."""
