"""pebr: two-stage reinforcement learning for vision-language models, perception before reasoning.

One package serves every step of the pipeline. A folder with a `component.py` is a step, that is, one command
(`python -m pebr.sft --help`) and one container; the other folders are the library that the steps share.
"""
