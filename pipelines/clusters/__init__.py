"""Cluster files, and the code that applies them to the tasks of the DAG."""
