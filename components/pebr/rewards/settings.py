"""Settings of the rewards of a GRPO stage."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pebr.vlm.settings import ReadingSettings


@dataclass(frozen=True, kw_only=True)
class RewardSettings(ReadingSettings):
    """Which rewards a stage has, and their weights."""

    stage: Annotated[
        Literal["perception", "reasoning"],
        "Rewards of the stage: perception (CLIP, keywords, format, length) or reasoning (accuracy, format).",
    ] = "reasoning"
    reward_mode: Annotated[
        Literal["paper", "released"], "paper corrects the known defects of the released rewards; released repeats them."
    ] = "paper"
    clip_weight: Annotated[float, "Weight of the CLIP reward in the perception stage."] = 0.4
    keyword_weight: Annotated[float, "Weight of the keyword reward in the perception stage."] = 0.4
    format_weight: Annotated[float, "Weight of the format reward in both stages."] = 0.1
    length_weight: Annotated[float, "Weight of the length reward in the perception stage."] = 0.1
    accuracy_weight: Annotated[float, "Weight of the accuracy reward in the reasoning stage."] = 0.9
    reward: Annotated[str, "Custom rewards, `package.module:function=weight`, separated by commas."] = ""
