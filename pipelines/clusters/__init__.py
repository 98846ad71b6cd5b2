"""Cluster files, and how they are applied to the tasks of the DAG."""
