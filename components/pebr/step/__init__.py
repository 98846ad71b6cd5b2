"""A step as a command: its settings, its exit codes, its processes, and the name of its run."""
