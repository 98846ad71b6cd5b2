"""Encodes questions for a model and decodes its answers: tokens, pixel patches, lengths.

An image is resized once, here, to the resolution of training. Sampling and training both use the resized image, so the
trainer learns from what the sampler saw.
"""

import copy
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from PIL import Image
from torch import Tensor

from pebr.vlm.families import family_of_processor
from pebr.vlm.families.contract import Processor, Size, Tokenizer
from pebr.vlm.prompt import IMAGE_PLACEHOLDER, TEMPLATE, PromptError, conversation


class Prompt(NamedTuple):
    """An encoded question.

    Shapes: P prompt tokens; I images; N image patches of all images, C values each.
    """

    token_ids: list[int]  # (P,), each image expanded to its tokens
    pixel_values: Tensor | None  # (N, C) float32, None without an image
    image_grids: Tensor | None  # (I, 3) patches in time, height, width
    images: tuple[Image.Image, ...]  # RGB, at the resolution that the model sees
    text: str  # the rendered chat, one placeholder per image (for engines that expand it themselves)


class Encoder:
    """Encodes prompts and responses with a model's processor; all phases use it.

    Args:
        processor: of the model; see `load_processor`.
        template: of questions; the one that came with the processor if it is empty.
    """

    def __init__(self, processor: Processor, template: str = "") -> None:
        self.processor = processor
        self.template = template or getattr(processor, "question_template", TEMPLATE)
        self.tokenizer = processor.tokenizer
        self.family = family_of_processor(processor)

    def prompt(self, problem: str, images: Sequence[Image.Image], history: Sequence[str] = ()) -> Prompt:
        """Encode a question with its images.

        Args:
            problem: the question.
            images: of the question, and of the history before them.
            history: earlier questions of the conversation, each followed by its answer.

        Raises:
            PromptError: when the question cannot be asked (see `conversation` and `image_tokens`).
        """
        text = self._render([*history, problem], len(images))
        resized = tuple(image.resize(self._seen_size(image.size), Image.Resampling.BICUBIC) for image in images)
        # Not resized by the processor: a second time would shrink or refuse very long images, whose sides round up.
        batch = self.processor(text=[text], images=list(resized) or None, do_resize=False, return_tensors="pt")
        return Prompt(batch["input_ids"][0].tolist(), *self.family.image_data(batch), resized, text)

    def blind_prompt(self, problem: str, begun: str) -> Prompt:
        """Encode a question without its images, and the beginning of its answer, in which special tokens are text.

        Raises:
            PromptError: nothing is left of the question without its images.
        """
        prompt = self.prompt(problem.replace(IMAGE_PLACEHOLDER, ""), [])
        return prompt._replace(token_ids=prompt.token_ids + self._plain_ids(begun), text=prompt.text + begun)

    def prompt_length(self, problem: str, sizes: Sequence[Size], history: Sequence[str] = ()) -> int:
        """The number of tokens P of a prompt, from the images' (width, height) alone: no pixel is read.

        Raises:
            PromptError: when the question cannot be asked (see `conversation` and `image_tokens`).
        """
        text_tokens = self.count_tokens(self._render([*history, problem], len(sizes)))  # here an image is one token
        return text_tokens + sum(self.image_tokens(size) - 1 for size in sizes)

    def image_tokens(self, size: Size) -> int:
        """The number of tokens of an image of this (width, height).

        Raises:
            PromptError: when the model takes no image of this shape.
        """
        return self.family.image_tokens(self.processor, self._seen_size(size))

    def blank_image(self) -> Prompt:
        """The smallest image, one token of grey, without text."""
        return Prompt([self.image_token_id], *self.family.blank_image(self.processor), images=(), text="")

    def positions(self, prompt: Prompt) -> Tensor:
        """Rotary positions (A, P) of a prompt on the model's A axes; the answer continues at their maximum plus 1."""
        return self.family.positions(self.processor, prompt.token_ids, self.image_token_id, prompt.image_grids)

    def response_ids(self, text: str) -> list[int]:
        """The tokens of an answer, ended by the end-of-turn token; special tokens in the text are plain text."""
        return [*self._plain_ids(text), self.end_of_turn_id]

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of an answer's tokens, without special tokens."""
        return str(self.tokenizer.decode(list(token_ids), skip_special_tokens=True))

    def count_tokens(self, text: str) -> int:
        """The number of tokens of a text."""
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    @cached_property
    def end_of_turn_id(self) -> int:
        """The token that ends an assistant's turn."""
        return int(self.tokenizer.convert_tokens_to_ids(self.family.end_of_turn))

    @cached_property
    def eos_token_ids(self) -> tuple[int, ...]:
        """The tokens that end an answer."""
        ids = {self.end_of_turn_id, self.tokenizer.eos_token_id, *self._ids_of(self.family.end_of_text)}
        return tuple(sorted(int(i) for i in ids if i is not None))

    @cached_property
    def banned_token_ids(self) -> tuple[int, ...]:
        """Vision tokens. An answer with one of them would claim an image that is not there."""
        return tuple(sorted(i for name in self.family.vision_tokens for i in self._ids_of(name)))

    @cached_property
    def image_token_id(self) -> int:
        """The token that stands for a piece of an image."""
        return int(self.processor.image_token_id)

    @cached_property
    def pad_token_id(self) -> int:
        """The token that pads batches; the loss never sees it."""
        pad = self.tokenizer.pad_token_id
        return self.end_of_turn_id if pad is None else int(pad)

    @cached_property
    def _plain_tokenizer(self) -> Tokenizer:
        """A tokenizer for texts in which special tokens are plain text.

        It is a copy: `split_special_tokens` changes a tokenizer for all its threads while it is used.
        """
        return copy.deepcopy(self.tokenizer)

    def _plain_ids(self, text: str) -> list[int]:
        ids: list[int] = self._plain_tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return ids

    def _ids_of(self, token: str) -> list[int]:
        vocabulary = self.tokenizer.get_vocab()
        return [vocabulary[token]] if token in vocabulary else []

    def _render(self, turns: Sequence[str], image_count: int) -> str:
        messages = conversation(turns, image_count, self.template)
        return str(self.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))

    def _seen_size(self, size: Size) -> Size:
        """The (width, height) that the model sees of an image of this size."""
        try:
            return self.family.seen_size(self.processor, size)
        except ValueError as error:
            raise PromptError(f"an image of {size[0]} x {size[1]} px: {error}") from error
