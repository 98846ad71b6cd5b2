"""Qwen3-VL."""

from pebr.vlm.families.contract import Part
from pebr.vlm.families.qwen import Qwen


class Qwen3VL(Qwen):
    model_type = "qwen3_vl"
    processor = "Qwen3VLProcessor"
    video_processor = "Qwen3VLVideoProcessor"

    def tiny_parts(self, text: Part, vision: Part) -> tuple[Part, Part]:
        rope = text["rope_parameters"] | {"mrope_interleaved": True}
        text = text | {"head_dim": text["hidden_size"] // text["num_attention_heads"], "rope_parameters": rope}
        return text, vision | {"deepstack_visual_indexes": [0], "num_position_embeddings": 64}
