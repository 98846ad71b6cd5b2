"""A vision-language model of the real architecture and a few million random weights, with a tokenizer of its own.

Everything a Hub model has is there: `config.json`, safetensors, Qwen's special tokens and chat format, processors of
images and videos. So whatever loads Qwen2.5-VL or Qwen3-VL loads this, and no phase knows a toy from a real model.
The tokenizer is byte-level BPE over the tiny world's texts: their words and section headers are one token each, and
any other text falls back to its bytes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch

import pebr.vlm  # noqa: F401 - makes the vision parts importable
from pebr.toy.world import questions
from pebr.vlm.prompt import INSTRUCTIONS

Family = Literal["qwen2_5_vl", "qwen3_vl"]

PAD, END = "<|endoftext|>", "<|im_end|>"
SPECIAL_TOKENS = (
    PAD,
    "<|im_start|>",
    END,
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
VOCABULARY = 1024  # at most
HEAD = 32  # width of an attention head, in the text model and in the vision tower
LONGEST = 2048  # tokens of prompt and answer
# Qwen's rotary base of 1e6 and its sections of a 128-wide head would turn by 1e-3 from one image column to the next; in
# rows of 150 tokens and pictures of 4 x 4 tokens these turn by 0.1 and more.
ROPE_BASE = 10.0
ROPE_SECTIONS = [2, 5, 9]  # half a head's width, shared out to time, height, width
TEXT_INIT = 0.08  # about 1 / sqrt(width): with Qwen's 0.02 attention needs ten times the steps to find the image
SYSTEM = "You are a helpful assistant."

# What every prompt repeats is one token each: a third fewer tokens to compute.
PHRASES = (f"system\n{SYSTEM}", INSTRUCTIONS)

# Headers first, with the line breaks around them; then, as Qwen does, words with their space, single digits, the rest.
_PIECES = r"\n*### ?[A-Za-z' ]+\d?[:.]\n?| ?\p{L}+(?:-\p{L}+)*| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+"

_CHAT_TEMPLATE = r"""{%- if messages[0].role != 'system' -%}
    {{- '<|im_start|>system\nSYSTEM<|im_end|>\n' -}}
{%- endif -%}
{%- for message in messages -%}
    {{- '<|im_start|>' + message.role + '\n' -}}
    {%- if message.content is string -%}
        {{- message.content -}}
    {%- else -%}
        {%- for part in message.content -%}
            {%- if part.type == 'image' -%}
                {{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
            {%- elif part.type == 'video' -%}
                {{- '<|vision_start|><|video_pad|><|vision_end|>' -}}
            {%- else -%}
                {{- part.text -}}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
    {{- '<|im_end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}
""".replace("SYSTEM", SYSTEM)


def build_model(
    directory: Path | str,
    seed: int,
    family: Family = "qwen2_5_vl",
    width: int = 128,
    layers: int = 4,
    vision_width: int = 256,
    vision_layers: int = 2,
    tied: bool = True,
) -> Path:
    """Write a model with random weights and its processor; the same arguments give the same bytes.

    Args:
        directory: where the Hugging Face directory goes; made when absent.
        seed: of the weights. The tokenizer does not depend on it.
        family: the architecture.
        width: of the text model, a multiple of 64.
        layers: of the text model.
        vision_width: of the vision tower, a multiple of 32.
        vision_layers: of the vision tower.
        tied: the output head is the embedding, as in Qwen2.5-VL 3B; False: it has weights of its own, as in 7B.

    Returns:
        The directory.
    """
    from transformers import AutoModelForImageTextToText

    tokenizer = build_tokenizer()
    config = _CONFIGS[family](tokenizer, width, layers, vision_width, vision_layers)
    config.tie_word_embeddings = tied
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
    model.generation_config.eos_token_id = _ids(tokenizer, END, PAD)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(str(directory))
    _processor(family, tokenizer, config.vision_config.patch_size).save_pretrained(str(directory))
    return Path(directory)


def build_tokenizer() -> Any:
    """The tokenizer of the tiny world, a transformers fast tokenizer; always the same."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=2,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(_corpus(), trainer)
    bpe.add_tokens([AddedToken(phrase, normalized=False) for phrase in PHRASES])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[token for token in SPECIAL_TOKENS if token not in (END, PAD)],
        model_max_length=LONGEST,
        clean_up_tokenization_spaces=False,
    )


def _corpus() -> Iterator[str]:
    """Texts with every word and header of the tiny world."""
    for question in questions(seed=0, rows=600, split="sft"):
        yield from ("user", question.problem.removeprefix("<image>"), "assistant", question.taught)


def _qwen2_5_vl(tokenizer: Any, width: int, layers: int, vision_width: int, vision_layers: int) -> Any:
    from transformers import Qwen2_5_VLConfig

    vision = {
        "depth": vision_layers,
        "hidden_size": vision_width,
        "intermediate_size": 2 * vision_width,
        "num_heads": vision_width // HEAD,
        "out_hidden_size": width,
        "fullatt_block_indexes": [vision_layers - 1],
    }
    text = _text(tokenizer, width, layers)
    return Qwen2_5_VLConfig(vision_config=vision, text_config=text, **_token_ids(tokenizer))


def _qwen3_vl(tokenizer: Any, width: int, layers: int, vision_width: int, vision_layers: int) -> Any:
    from transformers import Qwen3VLConfig

    vision = {
        "depth": vision_layers,
        "hidden_size": vision_width,
        "intermediate_size": 2 * vision_width,
        "num_heads": vision_width // HEAD,
        "out_hidden_size": width,
        "deepstack_visual_indexes": [0],
        "num_position_embeddings": 64,
    }
    text = _text(tokenizer, width, layers) | {"head_dim": HEAD}
    text["rope_parameters"] = text["rope_parameters"] | {"mrope_interleaved": True}
    return Qwen3VLConfig(vision_config=vision, text_config=text, **_token_ids(tokenizer))


_CONFIGS = {"qwen2_5_vl": _qwen2_5_vl, "qwen3_vl": _qwen3_vl}


def _text(tokenizer: Any, width: int, layers: int) -> dict[str, Any]:
    """The text model's settings, the same in both families."""
    end, pad = _ids(tokenizer, END, PAD)
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "intermediate_size": 3 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // HEAD,
        "num_key_value_heads": width // HEAD // 2,
        "max_position_embeddings": LONGEST,
        "initializer_range": TEXT_INIT,
        "rope_parameters": {"rope_type": "default", "rope_theta": ROPE_BASE, "mrope_section": ROPE_SECTIONS},
        "bos_token_id": None,
        "eos_token_id": end,
        "pad_token_id": pad,
    }


def _token_ids(tokenizer: Any) -> dict[str, Any]:
    """The special tokens that a model's configuration names."""
    names = ("image_pad", "video_pad", "vision_start", "vision_end")
    fields = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    return dict(zip(fields, _ids(tokenizer, *(f"<|{name}|>" for name in names)), strict=True))


def _ids(tokenizer: Any, *tokens: str) -> list[int]:
    return [int(tokenizer.convert_tokens_to_ids(token)) for token in tokens]


def _processor(family: Family, tokenizer: Any, patch_size: int) -> Any:
    """Tokenizer, image and video processors and the chat template, as one."""
    from transformers import (
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    images = Qwen2VLImageProcessor(
        patch_size=patch_size, min_pixels=576, max_pixels=802816, image_mean=[0.85] * 3, image_std=[0.25] * 3
    )
    if family == "qwen3_vl":
        videos: Any = Qwen3VLVideoProcessor(patch_size=patch_size)
        return Qwen3VLProcessor(images, tokenizer, videos, chat_template=_CHAT_TEMPLATE)
    videos = Qwen2VLVideoProcessor(patch_size=patch_size)
    return Qwen2_5_VLProcessor(images, tokenizer, videos, chat_template=_CHAT_TEMPLATE)
