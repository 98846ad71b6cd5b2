"""The compiled pipeline (Kubeflow's IR), read into a flat list of steps."""
