"""The vision-language model: families, loading, prompts, response sections, packed rows."""

from pebr.vlm.torchvision_operators import declare

declare()  # before anything imports transformers' vision parts, open_clip or vLLM
