"""The vision-language model as data sees it: loading, prompts, response sections, token rows."""

from pebr.vlm.torchvision_operators import declare

declare()  # before anything imports transformers' vision parts, open_clip or vLLM
