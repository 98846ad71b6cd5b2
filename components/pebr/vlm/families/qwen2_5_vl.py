"""Qwen2.5-VL."""

from collections.abc import Mapping
from typing import Any

from pebr.vlm.families.contract import Config, Processor, Tokenizer
from pebr.vlm.families.qwen import CHAT_TEMPLATE, Qwen, tiny_text, tiny_tokens


class Qwen25VL(Qwen):
    model_type = "qwen2_5_vl"
    processor = "Qwen2_5_VLProcessor"

    def tiny_config(self, tokenizer: Tokenizer, text: Mapping[str, Any], vision: Mapping[str, Any]) -> Config:
        from transformers import Qwen2_5_VLConfig

        vision = {**vision, "fullatt_block_indexes": [vision["depth"] - 1]}
        return Qwen2_5_VLConfig(vision_config=vision, text_config=tiny_text(text), **tiny_tokens(tokenizer))

    def tiny_processor(self, tokenizer: Tokenizer, patch_size: int, pixels: Mapping[str, Any]) -> Processor:
        from transformers import Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

        images = Qwen2VLImageProcessor(patch_size=patch_size, **pixels)
        videos = Qwen2VLVideoProcessor(patch_size=patch_size)
        return Qwen2_5_VLProcessor(images, tokenizer, videos, chat_template=CHAT_TEMPLATE)
