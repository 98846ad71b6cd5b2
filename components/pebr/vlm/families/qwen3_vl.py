"""Qwen3-VL."""

from collections.abc import Mapping
from typing import Any

from pebr.vlm.families.contract import Config, Processor, Tokenizer
from pebr.vlm.families.qwen import CHAT_TEMPLATE, Qwen, tiny_text, tiny_tokens


class Qwen3VL(Qwen):
    model_type = "qwen3_vl"
    processor = "Qwen3VLProcessor"

    def tiny_config(self, tokenizer: Tokenizer, text: Mapping[str, Any], vision: Mapping[str, Any]) -> Config:
        from transformers import Qwen3VLConfig

        vision = {**vision, "deepstack_visual_indexes": [0], "num_position_embeddings": 64}
        head = text["hidden_size"] // text["num_attention_heads"]
        text = {**tiny_text(text, mrope_interleaved=True), "head_dim": head}
        return Qwen3VLConfig(vision_config=vision, text_config=text, **tiny_tokens(tokenizer))

    def tiny_processor(self, tokenizer: Tokenizer, patch_size: int, pixels: Mapping[str, Any]) -> Processor:
        from transformers import Qwen2VLImageProcessor, Qwen3VLProcessor, Qwen3VLVideoProcessor

        images = Qwen2VLImageProcessor(patch_size=patch_size, **pixels)
        videos: Any = Qwen3VLVideoProcessor(patch_size=patch_size)
        return Qwen3VLProcessor(images, tokenizer, videos, chat_template=CHAT_TEMPLATE)
