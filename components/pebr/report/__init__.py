"""Report: one self-contained HTML page about a whole run."""
