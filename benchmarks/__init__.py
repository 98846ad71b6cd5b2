"""Speed and learning, measured: one script a claim, its result in results/, its last line the ratio and the goal."""
