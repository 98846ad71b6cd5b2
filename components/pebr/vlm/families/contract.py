"""What the program must know about a family of vision-language models; `qwen2_5_vl` and `qwen3_vl` are the examples.

A family is one object of this form, in its own module, listed in `pebr.vlm.families`. Everything else about a model is
read from its Hugging Face directory.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from torch import Tensor

Processor = Any  # of transformers: tokenizer, image processor and chat template
Config = Any  # of transformers
Model = Any  # of transformers
Tokenizer = Any  # of transformers
VllmImages = Any  # `MultiModalKwargsItems` of vLLM
Part = dict[str, Any]  # settings of a part of a model
Size = tuple[int, int]  # width and height of an image in pixels


class Inputs(NamedTuple):
    """What a model computes hidden states of. Tensors are on its device, except `grids`.

    Shapes: L tokens, K of them image tokens; A position axes; I images with N patches of C values.
    """

    token_ids: Tensor  # (1, L)
    positions: Tensor  # (A, 1, L)
    patches: Tensor | None  # (N, C) of all images in order; None without an image
    grids: Tensor | None  # (I, 3) on the CPU: the work of the vision tower is planned there
    image_places: Tensor | None  # (K,) index in the row of each image token


class Span(NamedTuple):
    """A group's place in a row, in input tokens: an answer of R tokens takes R - 1."""

    start: int
    prompt: int
    answers: tuple[int, ...]  # (G,)

    @property
    def end(self) -> int:
        return self.start + self.prompt + sum(self.answers)


class Family(Protocol):
    """One family. Image data of all images of a prompt are two tensors: pixel patches, and the grid of each image.

    Shapes: P prompt tokens, L tokens of a row, I images, N patches of all images with C values each, A position axes.
    """

    model_type: str  # of config.json
    processor: str  # name of the processor's class
    end_of_turn: str  # token that ends an assistant's turn
    end_of_text: str  # token that ends a text
    vision_tokens: tuple[str, ...]  # tokens that stand for or enclose images; never sampled
    chat_marks: tuple[str, ...]  # tokens of the prompt that an answer must not contain as text
    position_axes: int  # A
    vision: tuple[str, ...]  # modules of the model: vision tower and projector
    language_model: str  # module of the model: the text model without its output head
    carries_state: bool  # layers pass a state from token to token, so answers cannot share a prompt's computation

    def limit_pixels(self, processor: Processor, least: int | None, most: int | None) -> None:
        """Make the processor enlarge images below `least` pixels and shrink those above `most`; None: no change."""
        ...

    def seen_size(self, processor: Processor, size: Size) -> Size:
        """The size to which an image of this size is resized.

        Raises:
            ValueError: when the processor does not take images of this shape.
        """
        ...

    def image_tokens(self, processor: Processor, seen: Size) -> int:
        """The number of tokens of an image that has been resized to `seen`."""
        ...

    def image_data(self, processed: Mapping[str, Tensor]) -> tuple[Tensor | None, Tensor | None]:
        """Patches (N, C) and grids (I, 3) from the processor's output; None without an image."""
        ...

    def blank_image(self, processor: Processor) -> tuple[Tensor, Tensor]:
        """Patches and grid of the smallest image, which has one token."""
        ...

    def positions(
        self, processor: Processor, token_ids: Sequence[int], image_token_id: int, grids: Tensor | None
    ) -> Tensor:
        """Positions (A, P) of a prompt's tokens. The text after the prompt continues at their maximum plus 1.

        Raises:
            ValueError: when images and image tokens do not match.
        """
        ...

    def prepare(self, model: Model) -> None:
        """Make a model ready for `hidden_states`, once. Other calls of it give the same results as before."""
        ...

    def hidden_states(self, model: Model, inputs: Inputs, **text: Any) -> Tensor:
        """The last hidden states (1, L, D) of the text model; `text` are further arguments of its forward pass.

        The forward pass does not wait for the device. A packed row has one more argument: `plans` for the attention
        (`pebr.vlm.attention`), or, if the family carries state, `spans` of its groups.
        """
        ...

    def vllm_images(self, processor: Processor, patches: Tensor, grids: Tensor) -> tuple[VllmImages, list[int]]:
        """vLLM's form of preprocessed images, and the number of tokens of each image."""
        ...

    # The rest describes the toy world's model.
    special_tokens: tuple[str, ...]  # of the tokenizer, in the order of their ids
    system_text: str  # what the chat template puts before each prompt

    def tiny_config(self, tokenizer: Tokenizer, text: Part, vision: Part) -> Config:
        """The configuration, from the settings of text model and vision tower that all families have in common."""
        ...

    def tiny_processor(self, tokenizer: Tokenizer, patch_size: int, pixels: Part) -> Processor:
        """The processor; `patch_size` is in pixels, `pixels` are further arguments of the image processor."""
        ...
