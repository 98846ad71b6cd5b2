"""The local runner: steps as processes on this machine, and their artifacts."""
