"""Qwen2.5-VL."""

from pebr.vlm.families.contract import Part
from pebr.vlm.families.qwen import Qwen


class Qwen25VL(Qwen):
    model_type = "qwen2_5_vl"
    processor = "Qwen2_5_VLProcessor"
    video_processor = "Qwen2VLVideoProcessor"

    def tiny_parts(self, text: Part, vision: Part) -> tuple[Part, Part]:
        return text, vision | {"fullatt_block_indexes": [vision["depth"] - 1]}
