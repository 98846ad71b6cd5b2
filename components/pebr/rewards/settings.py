"""Settings of the rewards of a GRPO stage."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pebr.step.settings import ANY_VALUE_RESUMES, WEIGHT, Bounds
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
    clip_weight: Annotated[float, WEIGHT, "Weight of the CLIP reward in the perception stage."] = 0.4
    keyword_weight: Annotated[float, WEIGHT, "Weight of the keyword reward in the perception stage."] = 0.4
    format_weight: Annotated[float, WEIGHT, "Weight of the format reward in both stages."] = 0.1
    length_weight: Annotated[float, WEIGHT, "Weight of the length reward in the perception stage."] = 0.1
    accuracy_weight: Annotated[float, WEIGHT, "Weight of the accuracy reward in the reasoning stage."] = 0.9
    overlong_weight: Annotated[
        float, WEIGHT, "Weight of the overlong penalty in both stages: up to -1 for answers near the token limit."
    ] = 0.0
    overlong_tokens: Annotated[
        int, Bounds(1), "The overlong penalty grows over this many tokens before `max_response_tokens`."
    ] = 256
    sufficiency_weight: Annotated[
        float,
        WEIGHT,
        "Weight of the self-sufficiency reward in both stages: 1 if the model answers right from its own description,"
        " without the image. It costs a second, text-only sampling pass.",
    ] = 0.0
    reward: Annotated[
        str, "Custom rewards, `package.module:function=weight` or `file.py:function=weight`, separated by commas."
    ] = ""
    reward_seconds: Annotated[
        float, Bounds(0, 86400, above=True), ANY_VALUE_RESUMES, "Seconds that a custom reward may take per step."
    ] = 600.0
