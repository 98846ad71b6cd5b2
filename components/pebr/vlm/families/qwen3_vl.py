"""Qwen3-VL. All layers of its vision tower attend within whole images; text layers get features of several of them."""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from pebr.vlm.families.contract import Model, Part
from pebr.vlm.families.qwen import Grids, Qwen, VisionPlan, frames


class Qwen3VL(Qwen):
    model_type = "qwen3_vl"
    processor = "Qwen3VLProcessor"
    video_processor = "Qwen3VLVideoProcessor"

    def prepare(self, model: Model) -> None:
        super().prepare(model)
        text = model.get_submodule(self.language_model)
        by_mask = type(text)._deepstack_process

        def add_features(states: Tensor, where: Tensor, features: Tensor) -> Tensor:
            """transformers' method for a mask; by index (K,) without waiting for the device, as a mask does."""
            if where.dtype == torch.bool:
                masked: Tensor = by_mask(text, states, where, features)
                return masked
            return states.index_add(1, where, features[None].to(states.dtype))

        text._deepstack_process = add_features

    def vision_plan(self, tower: Any, grids: Grids, lanes: bool) -> VisionPlan:
        return plan_of(grids, tower.spatial_merge_size, tower.num_grid_per_side, lanes)

    def of_images(self, seen: Any, places: Tensor) -> dict[str, Any]:
        return {"visual_pos_masks": places, "deepstack_visual_embeds": seen.deepstack_features}

    def tiny_parts(self, text: Part, vision: Part) -> tuple[Part, Part]:
        rope = text["rope_parameters"] | {"mrope_interleaved": True}
        text = text | {"head_dim": text["hidden_size"] // text["num_attention_heads"], "rope_parameters": rope}
        return text, vision | {"deepstack_visual_indexes": [0], "num_position_embeddings": 64}


@lru_cache(maxsize=16)  # a row passes through the reference and the policy
def plan_of(grids: Grids, merge: int, side: int, lanes: bool) -> VisionPlan:
    """See `Qwen.vision_plan`; `side` is that of the grid of learned positions."""
    from transformers.vision_utils import get_vision_interpolation_indices_and_weights, get_vision_position_ids

    of_grids = torch.tensor(grids)
    indices, weights = get_vision_interpolation_indices_and_weights(
        of_grids, side, mode="bilinear", align_corners=True, spatial_merge_size=merge
    )
    return {
        "position_ids": get_vision_position_ids(of_grids, merge),
        "interp_indices": indices,
        "interp_weights": weights,
        "segments": (frames(grids, lanes),),
    }
