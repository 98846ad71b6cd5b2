"""A step of the DAG on several nodes: the launcher in the step's own pod, and what runs in the pods of the nodes.

launcher    makes the job, follows it, fetches the outputs; `python -m pipelines.nodes pebr.grpo ...`
jobs        the job as Kubernetes knows it: a TrainJob or an Indexed Job
exchange    inputs and outputs on their way, in the store of the checkpoints
node        runs the step on one node
"""
