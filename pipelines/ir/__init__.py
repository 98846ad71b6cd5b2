"""Reads the compiled pipeline (Kubeflow's IR) into a flat list of steps."""
