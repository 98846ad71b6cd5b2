"""From a question to what a model reads, and back: tokens, pixel patches, lengths.

An image is resized once, here, to the resolution that is trained at; sampling and training both start from that
picture, so that what the sampler saw is what the trainer learns from.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

from PIL import Image
from torch import Tensor

import pebr.vlm  # noqa: F401 - makes the image processors importable
from pebr.vlm.prompt import PromptError, user_turn


class Prompt(NamedTuple):
    """An encoded question.

    Shapes: P prompt tokens; I images; N image patches of all images, C values each.
    """

    token_ids: list[int]  # (P,), each image expanded to its tokens
    pixel_values: Tensor | None  # (N, C) float32, None without an image
    image_grid_thw: Tensor | None  # (I, 3) patches in time, height, width
    images: tuple[Image.Image, ...]  # RGB, at the resolution that the model sees
    text: str  # the rendered chat, one placeholder an image (for engines that expand it themselves)


class Encoder:
    """Encodes prompts and responses with one processor; every phase goes through it."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer

    def prompt(self, problem: str, images: Sequence[Image.Image]) -> Prompt:
        """Encode a question with its images.

        Raises:
            PromptError: when the question cannot be asked (see `user_turn` and `image_tokens`).
        """
        text = self._render(problem, len(images))
        resized = tuple(image.resize(self._target_size(image.size), Image.Resampling.BICUBIC) for image in images)
        # Resized once: a second time would shrink or refuse very long pictures, whose sides round up.
        batch = self.processor(text=[text], images=list(resized) or None, do_resize=False, return_tensors="pt")
        return Prompt(
            token_ids=batch["input_ids"][0].tolist(),
            pixel_values=batch.get("pixel_values"),
            image_grid_thw=batch.get("image_grid_thw"),
            images=resized,
            text=text,
        )

    def prompt_length(self, problem: str, sizes: Sequence[tuple[int, int]]) -> int:
        """The number of tokens P of a prompt, from the images' (width, height) alone: no pixel is read.

        Raises:
            PromptError: when the question cannot be asked (see `user_turn` and `image_tokens`).
        """
        text_tokens = self.count_tokens(self._render(problem, len(sizes)))  # an image counts as one token here
        return text_tokens + sum(self.image_tokens(size) - 1 for size in sizes)

    def image_tokens(self, size: tuple[int, int]) -> int:
        """The number of tokens that an image of this (width, height) becomes.

        Raises:
            PromptError: when one side is more than 200 times the other, which Qwen's processor does not take.
        """
        width, height = self._target_size(size)
        return (width // self._factor) * (height // self._factor)

    def response_ids(self, text: str) -> list[int]:
        """The tokens of an answer, ended by the end-of-turn token; special tokens in the text are plain text."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return [*ids, self.end_of_turn_id]

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of an answer's tokens, without special tokens."""
        return str(self.tokenizer.decode(list(token_ids), skip_special_tokens=True))

    def count_tokens(self, text: str) -> int:
        """How many tokens a text has."""
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    @cached_property
    def end_of_turn_id(self) -> int:
        """The token that ends an assistant's turn."""
        return int(self.tokenizer.convert_tokens_to_ids("<|im_end|>"))

    @cached_property
    def eos_token_ids(self) -> tuple[int, ...]:
        """The tokens at which an answer ends."""
        ids = {self.end_of_turn_id, self.tokenizer.eos_token_id, *self._ids_of("<|endoftext|>")}
        return tuple(sorted(int(i) for i in ids if i is not None))

    @cached_property
    def banned_token_ids(self) -> tuple[int, ...]:
        """Vision tokens: an answer that held one would claim an image that is not there."""
        names = ("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")
        return tuple(sorted(i for name in names for i in self._ids_of(name)))

    @cached_property
    def image_token_id(self) -> int:
        """The token that stands for a piece of an image."""
        return int(self.processor.image_token_id)

    @cached_property
    def pad_token_id(self) -> int:
        """The token that fills up rows; never seen by the loss."""
        pad = self.tokenizer.pad_token_id
        return self.end_of_turn_id if pad is None else int(pad)

    def _ids_of(self, token: str) -> list[int]:
        vocabulary = self.tokenizer.get_vocab()
        return [vocabulary[token]] if token in vocabulary else []

    def _render(self, problem: str, image_count: int) -> str:
        messages = user_turn(problem, image_count)
        return str(self.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))

    @cached_property
    def _factor(self) -> int:
        """Pixels a side of the square that becomes one token."""
        return int(self.processor.image_processor.patch_size * self.processor.image_processor.merge_size)

    def _target_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The (width, height) that the model sees of an image of this size."""
        from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

        limits = self.processor.image_processor.size
        try:
            height, width = smart_resize(
                size[1], size[0], self._factor, min_pixels=limits["shortest_edge"], max_pixels=limits["longest_edge"]
            )
        except ValueError as error:
            raise PromptError(f"an image of {size[0]} x {size[1]} px: {error}") from error
        return int(width), int(height)
