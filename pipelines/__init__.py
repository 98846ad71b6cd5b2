"""The DAG of the pipeline, its recipes and compiled forms, and the programs that run or submit it."""
