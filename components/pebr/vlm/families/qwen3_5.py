"""Qwen3.5, its vision-language models. Most text layers are linear attention (Gated DeltaNet, arXiv 2412.06464).

Such a layer carries a state from token to token, so the answers of a group cannot attend to one shared prompt: each is
computed in a sequence of its own (`pebr.vlm.whole_rows`). The vision tower is that of Qwen3-VL without its features for
text layers, and runs once per group. The processor is that of Qwen3-VL.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from pebr.vlm.families.contract import Inputs, Model, Part, Span
from pebr.vlm.families.qwen import Grids, Qwen, VisionPlan
from pebr.vlm.families.qwen3_vl import plan_of
from pebr.vlm.segments import use_segment_attention
from pebr.vlm.whole_rows import sequences_of


class Qwen35(Qwen):
    model_type = "qwen3_5"
    processor = "Qwen3VLProcessor"
    video_processor = "Qwen3VLVideoProcessor"
    carries_state = True

    def prepare(self, model: Model) -> None:
        use_segment_attention(model, self.vision[0])  # no fused kernels: liger-kernel has none for this family

    def hidden_states(self, model: Model, inputs: Inputs, spans: Sequence[Span] | None = None, **text: Any) -> Tensor:
        if spans is None:
            return super().hidden_states(model, inputs, **text)
        embedded, _ = self.embedded(model.model, inputs)
        places, back = sequences_of(spans, embedded.device)
        states = model.model.language_model(
            inputs_embeds=embedded[0][places], position_ids=inputs.positions[:, 0][:, places], **text
        ).last_hidden_state  # (S, W, D)
        of_row: Tensor = states.flatten(0, 1)[back][None]
        return of_row

    def vision_plan(self, tower: Any, grids: Grids, lanes: bool) -> VisionPlan:
        return plan_of(grids, tower.spatial_merge_size, tower.num_grid_per_side, lanes)

    def tiny_parts(self, text: Part, vision: Part) -> tuple[Part, Part]:
        """As in a real model, layers alternate, and half of a head is rotated (of real ones, a quarter)."""
        head = text["hidden_size"] // text["num_attention_heads"]
        rope = text["rope_parameters"] | {"mrope_interleaved": True, "partial_rotary_factor": 0.5}
        layers = text["num_hidden_layers"]
        text = text | {
            "head_dim": head,
            "rope_parameters": rope | {"mrope_section": [2, 3, 3]},
            "layer_types": ["linear_attention" if (layers - i) % 2 == 0 else "full_attention" for i in range(layers)],
            "linear_key_head_dim": head,
            "linear_value_head_dim": head,
            "linear_num_key_heads": text["num_key_value_heads"],
            "linear_num_value_heads": text["num_attention_heads"],
        }
        return text, vision | {"num_position_embeddings": 64}
