"""What the Qwen-VL families share: tokens, patches, M-RoPE positions, the forward pass.

Images are cut into patches; a square of merge_size x merge_size patches becomes one token. Positions have three axes
(M-RoPE; Qwen2-VL, arXiv 2409.12191, section 2.1): text counts up on all three alike, an image of h x w tokens that
starts at position s takes (s, s + row, s + column), and what follows it starts at s + max(h, w). The model's own
`get_rope_index` computes the same, but needs the model; rows are built where data is read.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pebr.vlm.families.contract import Config, Inputs, Model, Part, Processor, Size, Tokenizer, VllmImages
from pebr.vlm.kernels import use_fast_kernels
from pebr.vlm.segments import Segments, segments_of, use_segment_attention, uses_flash

Grids = tuple[tuple[int, ...], ...]  # (time, height, width) of each image in patches
VisionPlan = dict[str, Any]  # arguments of the vision tower: tensors, numbers, segments

SYSTEM = "You are a helpful assistant."

CHAT_TEMPLATE = r"""{%- if messages[0].role != 'system' -%}
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


class Qwen:
    """The shared part of the Qwen-VL families; `pebr.vlm.families.contract.Family` describes the methods."""

    model_type: str
    processor: str
    video_processor: str  # name of its class

    end_of_turn = "<|im_end|>"
    end_of_text = "<|endoftext|>"
    vision_tokens: tuple[str, ...] = (
        "<|vision_start|>",
        "<|vision_end|>",
        "<|vision_pad|>",
        "<|image_pad|>",
        "<|video_pad|>",
    )
    chat_marks: tuple[str, ...] = ("<|im_start|>", "<|im_end|>", "<|vision_start|>")
    position_axes = 3
    vision: tuple[str, ...] = ("model.visual",)  # the projector is its part `merger`
    language_model = "model.language_model"
    carries_state = False
    special_tokens: tuple[str, ...] = (end_of_text, "<|im_start|>", end_of_turn, *vision_tokens)
    system_text = f"system\n{SYSTEM}"

    def limit_pixels(self, processor: Processor, least: int | None, most: int | None) -> None:
        size = dict(processor.image_processor.size)
        if least:
            size["shortest_edge"] = least
        if most:
            size["longest_edge"] = most
        processor.image_processor.size = size

    def seen_size(self, processor: Processor, size: Size) -> Size:
        """As in the contract; sides are multiples of a token's, and one side may be 200 times the other at most."""
        from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

        limits = processor.image_processor.size
        height, width = smart_resize(
            *size[::-1], token_side(processor), min_pixels=limits["shortest_edge"], max_pixels=limits["longest_edge"]
        )
        return int(width), int(height)

    def image_tokens(self, processor: Processor, seen: Size) -> int:
        return (seen[0] // token_side(processor)) * (seen[1] // token_side(processor))

    def image_data(self, processed: Mapping[str, Tensor]) -> tuple[Tensor | None, Tensor | None]:
        return processed.get("pixel_values"), processed.get("image_grid_thw")

    def blank_image(self, processor: Processor) -> tuple[Tensor, Tensor]:
        images = processor.image_processor
        values = 3 * images.temporal_patch_size * images.patch_size**2
        return torch.zeros(images.merge_size**2, values), torch.tensor([[1, images.merge_size, images.merge_size]])

    def positions(
        self, processor: Processor, token_ids: Sequence[int], image_token_id: int, grids: Tensor | None
    ) -> Tensor:
        of_images = [] if grids is None else grids.tolist()
        return prompt_positions(token_ids, image_token_id, of_images, processor.image_processor.merge_size)

    def prepare(self, model: Model) -> None:
        use_segment_attention(model, self.vision[0])
        use_fast_kernels(model, self.vision[0])

    def hidden_states(self, model: Model, inputs: Inputs, **text: Any) -> Tensor:
        embedded, of_images = self.embedded(model.model, inputs)
        states: Tensor = model.model.language_model(
            inputs_embeds=embedded, position_ids=inputs.positions, **text, **of_images
        ).last_hidden_state
        return states

    def embedded(self, core: Model, inputs: Inputs) -> tuple[Tensor, dict[str, Any]]:
        """Embeddings (1, L, D) of tokens and images, and further arguments of the text model from the vision tower."""
        embedded = core.get_input_embeddings()(inputs.token_ids)  # (1, L, D)
        if inputs.patches is not None and inputs.grids is not None and inputs.image_places is not None:
            tower = core.visual
            lanes = not uses_flash(inputs.patches.device, tower.dtype)
            plan = self.vision_plan(tower, tuple(map(tuple, inputs.grids.tolist())), lanes)
            seen = tower(inputs.patches.type(tower.dtype), grid_thw=inputs.grids, **_sent(plan, embedded.device))
            images = seen.pooler_output.to(embedded.dtype)  # (K, D)
            return embedded.index_copy(1, inputs.image_places, images[None]), self.of_images(seen, inputs.image_places)
        return embedded, {}

    def vision_plan(self, tower: Any, grids: Grids, lanes: bool) -> VisionPlan:
        """What the vision tower would otherwise compute from the grids, in each pass and waiting for the device.

        Args:
            tower: the vision tower.
            grids: of all images.
            lanes: whether attention computes in lanes.
        """
        raise NotImplementedError

    def of_images(self, seen: Any, places: Tensor) -> dict[str, Any]:
        """Arguments of the text model from the vision tower's output, beside the embeddings of the image tokens."""
        return {}

    def vllm_images(self, processor: Processor, patches: Tensor, grids: Tensor) -> tuple[VllmImages, list[int]]:
        from vllm.multimodal.inputs import MultiModalFieldConfig, MultiModalKwargsItems

        patches_per_image = grids.prod(dim=-1)
        fields = {
            "pixel_values": MultiModalFieldConfig.flat_from_sizes("image", patches_per_image),
            "image_grid_thw": MultiModalFieldConfig.batched("image", keep_on_cpu=True),
        }
        inputs: VllmImages = {"pixel_values": patches, "image_grid_thw": grids}
        tokens = patches_per_image // processor.image_processor.merge_size**2
        return MultiModalKwargsItems.from_hf_inputs(inputs, fields), tokens.tolist()

    def tiny_config(self, tokenizer: Tokenizer, text: Part, vision: Part) -> Config:
        from transformers import AutoConfig

        names = {"image": "image_pad", "video": "video_pad", "vision_start": "vision_start", "vision_end": "vision_end"}
        ids = {f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>") for name, token in names.items()}
        rope = text["rope_parameters"] | {"mrope_section": [2, 5, 9]}  # half a head: time, height, width
        text, vision = self.tiny_parts(text | {"rope_parameters": rope}, vision)
        return AutoConfig.for_model(self.model_type, vision_config=vision, text_config=text, **ids)

    def tiny_parts(self, text: Part, vision: Part) -> tuple[Part, Part]:
        """Settings of the tiny text model and vision tower, with those of the family."""
        raise NotImplementedError

    def tiny_processor(self, tokenizer: Tokenizer, patch_size: int, pixels: Part) -> Processor:
        import transformers

        images = transformers.Qwen2VLImageProcessor(patch_size=patch_size, **pixels)
        videos = getattr(transformers, self.video_processor)(patch_size=patch_size)
        return getattr(transformers, self.processor)(images, tokenizer, videos, chat_template=CHAT_TEMPLATE)


def frames(grids: Grids, lanes: bool) -> Segments:
    """The segments of attention in whole images: each frame attends to itself."""
    return segments_of([height * width for time, height, width in grids for _ in range(time)], lanes)


def segment_arguments(name: str, segments: Segments) -> VisionPlan:
    """The arguments `cu_NAMEseqlens` and `max_NAMEseqlen`; `name` is "" or "window_"."""
    return {f"cu_{name}seqlens": segments.bounds, f"max_{name}seqlen": segments.longest}


def _sent(plan: VisionPlan, device: torch.device) -> VisionPlan:
    """The plan on a device; the CPU does not wait. Attention finds its segments by their bounds."""
    kinds = [segments.to(device) for segments in plan["segments"]]
    sent = {
        key: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value for key, value in plan.items()
    }
    for name, segments in zip(("", "window_"), kinds, strict=False):
        sent |= segment_arguments(name, segments)
    return sent | {"segments": kinds}


def token_side(processor: Processor) -> int:
    """Pixels per side of the square that becomes one token."""
    return int(processor.image_processor.patch_size * processor.image_processor.merge_size)


def prompt_positions(
    token_ids: Sequence[int], image_token_id: int, grids: Sequence[Sequence[int]], merge_size: int
) -> Tensor:
    """The positions (3, P) of a prompt's tokens: time, height, width.

    Args:
        token_ids: (P,) tokens, each image expanded to its tokens.
        image_token_id: the token that stands for a piece of an image.
        grids: (time, height, width) of each image in patches, in the order of the images.
        merge_size: patches per side that become one token.

    Raises:
        ValueError: when images and image tokens do not match.

    >>> prompt_positions([5, 9, 9, 9, 9, 9, 9, 6], 9, [(1, 4, 6)], 2).tolist()
    [[0, 1, 1, 1, 1, 1, 1, 4], [0, 1, 1, 1, 2, 2, 2, 4], [0, 1, 2, 3, 1, 2, 3, 4]]
    """
    pieces: list[Tensor] = []
    index = position = 0
    for time, height, width in grids:
        shape = (int(time), int(height) // merge_size, int(width) // merge_size)
        image_start = _find(token_ids, image_token_id, index)
        image_end = image_start + shape[0] * shape[1] * shape[2]
        if any(token != image_token_id for token in token_ids[image_start:image_end]) or image_end > len(token_ids):
            raise ValueError(f"an image of {shape} tokens does not match the image tokens from token {image_start} on")
        pieces.append(_text(position, image_start - index))
        position += image_start - index
        axes = torch.meshgrid(*(torch.arange(length) for length in shape), indexing="ij")
        pieces.append(torch.stack(axes).reshape(3, -1) + position)
        position += max(shape[1:])
        index = image_end
    if image_token_id in token_ids[index:]:
        raise ValueError(f"the prompt has more image tokens than its {len(grids)} images")
    pieces.append(_text(position, len(token_ids) - index))
    return torch.cat(pieces, dim=1)


def _text(position: int, length: int) -> Tensor:
    return torch.arange(position, position + length).expand(3, -1)


def _find(token_ids: Sequence[int], token_id: int, start: int) -> int:
    for index in range(start, len(token_ids)):
        if token_ids[index] == token_id:
            return index
    raise ValueError(f"the prompt has fewer image tokens than images: none from token {start} on")
