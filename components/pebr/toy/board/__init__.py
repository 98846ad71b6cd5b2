"""A second tiny world, in which seeing is the bottleneck: boards of many objects, questions that need several facts."""
