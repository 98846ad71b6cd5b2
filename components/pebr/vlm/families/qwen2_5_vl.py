"""Qwen2.5-VL. Most layers of its vision tower attend within windows of 112 x 112 pixels, a few within whole images."""

from functools import lru_cache
from typing import Any

import torch

from pebr.vlm.families.contract import Part
from pebr.vlm.families.qwen import Grids, Qwen, VisionPlan, frames
from pebr.vlm.segments import segments_of


class Qwen25VL(Qwen):
    model_type = "qwen2_5_vl"
    processor = "Qwen2_5_VLProcessor"
    video_processor = "Qwen2VLVideoProcessor"

    def vision_plan(self, tower: Any, grids: Grids, lanes: bool) -> VisionPlan:
        return _plan(grids, tower.spatial_merge_size, tower.window_size, tower.patch_size, lanes)

    def tiny_parts(self, text: Part, vision: Part) -> tuple[Part, Part]:
        return text, vision | {"fullatt_block_indexes": [vision["depth"] - 1]}


@lru_cache(maxsize=16)  # a row passes through the reference and the policy
def _plan(grids: Grids, merge: int, window: int, patch: int, lanes: bool) -> VisionPlan:
    from transformers.vision_utils import get_vision_position_ids, get_vision_window_index

    of_grids = torch.tensor(grids)
    order, bounds = get_vision_window_index(of_grids, merge, window, patch)
    return {
        "position_ids": get_vision_position_ids(of_grids, merge),
        "window_index": order,
        "segments": (frames(grids, lanes), segments_of(bounds.diff().tolist(), lanes)),
    }
