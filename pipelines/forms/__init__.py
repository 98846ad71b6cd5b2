"""The compiled pipeline as manifests for clusters."""
