"""The arms of the experiment: which stages each trains, from the same warm-up, rollout and split of a seed."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pebr import toy
from pipelines import recipes
from pipelines.compile import COMPILED
from pipelines.ir.reader import Pipeline
from pipelines.recipes import Value

RECIPE = "board"
# The base model of all seeds is trained once, on a careful teacher's answers: it sees and reasons, as a real one does.
BASE: dict[str, Value] = {"sft_source": "toy://board/sft?left_out=0", "toy_rows": 6000, "sft_max_steps": 1000}
# The warm-up of a seed teaches it the habits of the inattentive teacher.
WARM_UP: dict[str, Value] = {"toy_rows": 2400, "sft_max_steps": 200, "sft_learning_rate": 1e-3}


@dataclass(frozen=True)
class Start:
    """What all arms of a seed start from: its warm-up, as it is or with a damaged vision tower."""

    name: str
    noise: float = 0.0  # added to the vision tower's weights, in standard deviations of each matrix


STARTS = {start.name: start for start in (Start("sees"), Start("sees_poorly", noise=0.14))}


@dataclass(frozen=True)
class Stage:
    """A stage of GRPO and what it changes in the recipe."""

    task: str  # perception or reasoning, of the pipeline's tasks
    questions: str  # easy or medium, of the split
    changes: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Arm:
    """Stages that are trained one after the other. Arms that begin alike share what they have in common."""

    name: str
    title: str
    stages: tuple[Stage, ...] = ()


def values() -> dict[str, Value]:
    """The recipe's values of all parameters of the pipeline."""
    return recipes.load(RECIPE, [], Pipeline(COMPILED / "pebr_r1.yaml").inputs)


def arms(chosen: Mapping[str, Value]) -> tuple[Arm, ...]:
    """All arms, given the recipe's values: first the models that all others are compared with and made from."""
    stage_1 = Stage("perception", "easy")
    stage_2 = Stage("reasoning", "medium")
    first, second = (int(chosen[f"{stage}_max_steps"]) for stage in ("perception", "reasoning"))
    sampled, of_second = (int(chosen[f"{stage}_questions_per_step"]) for stage in ("perception", "reasoning"))
    both = first + second
    equal_answers = second + first * sampled // of_second

    def reasoning(steps: int, **changes: Value) -> Stage:
        return Stage("reasoning", "medium", {"reasoning_max_steps": steps, **changes})

    mixed = Stage(
        "perception",
        "medium",
        {
            "perception_reward": f"benchmarks.experiment.rewards:accuracy={chosen['accuracy_weight']}",
            "perception_max_steps": both,
            "perception_questions_per_step": of_second,
            "perception_questions_per_update": int(chosen["reasoning_questions_per_update"]),
        },
    )
    sufficiency = Stage(
        "perception",
        "easy",
        {
            "clip_weight": 0.0,
            "keyword_weight": 0.0,
            "perception_sufficiency_weight": 0.8,
            "sufficiency_tokens": int(chosen["max_response_tokens"]),
        },
    )
    return (
        Arm("warm_up", "warm-up"),
        Arm("stage_1", "stage 1 alone", (stage_1,)),
        Arm("two_stages", "two stages", (stage_1, stage_2)),
        Arm("reasoning_steps", "reasoning only, equal training steps", (reasoning(both),)),
        Arm("reasoning_answers", "reasoning only, equal answers sampled", (reasoning(equal_answers),)),
        Arm("mixed", "both rewards in one stage, equal training steps", (mixed,)),
        Arm("two_stages_sufficiency", "two stages, the first with self-sufficiency", (sufficiency, stage_2)),
        Arm(
            "two_stages_seeing",
            "two stages, the second with PAPO's perception term",
            (stage_1, reasoning(second, reasoning_seeing_weight=0.02, reasoning_entropy_weight=-0.03)),
        ),
    )


def design(chosen: Mapping[str, Value], start: Start = STARTS["sees"]) -> str:
    """A digest of what the results depend on, but for the seed and the training code: other designs are not mixed in.

    Of the recipe's values, those that differ from the pipeline's defaults: a new setting changes nothing. The source of
    the tiny worlds counts, because it makes data and models.
    """
    defaults = Pipeline(COMPILED / "pebr_r1.yaml").inputs
    stated = {name: value for name, value in chosen.items() if value != defaults[name].get("defaultValue")}
    content = {
        "recipe": stated,
        "world": source_digest(Path(toy.__path__[0])),
        "base": BASE,
        "warm-up": WARM_UP,
        "arms": [[arm.name, list(_stages(arm))] for arm in arms(chosen)],
        **({"noise": start.noise} if start.noise else {}),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def source_digest(folder: Path) -> str:
    """A digest of the names and contents of a package's Python files."""
    files = sorted(folder.rglob("*.py"))
    found = [[path.relative_to(folder).as_posix(), path.read_text(encoding="utf-8")] for path in files]
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def _stages(arm: Arm) -> Iterator[list[object]]:
    for stage in arm.stages:
        yield [stage.task, stage.questions, dict(stage.changes)]


def stage_names(arm: Arm) -> list[str]:
    """A folder's name for each stage of an arm, the same for equal stages after equal stages."""
    found = list(_stages(arm))
    return [
        f"{stage.task}-{hashlib.sha256(json.dumps(found[: place + 1], sort_keys=True).encode()).hexdigest()[:8]}"
        for place, stage in enumerate(arm.stages)
    ]
