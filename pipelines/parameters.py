"""The pipeline's parameters, derived from the settings of its steps.

A parameter goes to every task whose step has a field of this name. Where tasks need different values, the parameter has
a prefix: `sft_epochs` is the field `epochs` of the warm-up. `TASKS` lists the tasks of the DAG, and the prefixes that
each looks for, the first first. Thus every field of every step can be set: with `--set`, in a recipe, in Kubeflow's UI.
`python -m pipelines.parameters` lists them all.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module

from pebr.errors import InputError
from pebr.step.settings import Setting, StepSettings, documented, fields
from pipelines.ir.plan import Constant, cast
from pipelines.ir.reader import Pipeline


@dataclass(frozen=True)
class Task:
    """A task of the DAG."""

    step: str  # the step that it runs
    prefixes: tuple[str, ...] = ()  # prefixes of its parameters, the first first
    fixed: Mapping[str, object] = field(default_factory=dict)  # fields that the DAG sets itself


TASKS = {
    "sft_data": Task("ingest", ("sft", "toy"), {"kind": ""}),
    "rl_data": Task("ingest", ("rl", "toy"), {"kind": ""}),
    "benchmarks": Task("ingest", ("benchmarks", "toy"), {"kind": "benchmarks"}),
    "base_model": Task("ingest", ("model", "toy"), {"kind": "model"}),
    "clip_model": Task("ingest", ("clip", "toy"), {"kind": "clip"}),
    "sft_filter": Task("filter", ("sft",), {"kind": "sft"}),
    "rl_filter": Task("filter", ("rl",), {"kind": "rl"}),
    "sft": Task("sft", ("sft",)),
    "rollout": Task("rollout", ("rollout",)),
    "split": Task("split"),
    "perception": Task("grpo", ("perception",), {"stage": "perception"}),
    "reasoning": Task("grpo", ("reasoning",), {"stage": "reasoning"}),
    "ablation": Task("grpo", ("ablation", "reasoning"), {"stage": "reasoning"}),
    "merge": Task("merge", ("merged",)),
    "evaluate": Task("evaluate", ("evaluate",)),
    "report": Task("report", ("report",), {"ablation": False}),
}
# Each prefix: how the help text names the task, and the fields that take it.
_STAGE = (
    "reward questions_per_step questions_per_update epochs max_steps resume_from best_by stop_at overlong_weight"
    " sufficiency_weight seeing_weight entropy_weight variance_share replacement_rounds credit"
)
PREFIXED = {
    "sft": (
        "SFT",
        "source image_root files columns epochs max_steps batch_size learning_rate weight_decay max_grad_norm"
        " warmup_ratio max_tokens save_every resume_from validate_every validation_questions stop_at stop_patience"
        " weights",
    ),
    "rl": ("RL", "source image_root files columns"),
    "benchmarks": ("Benchmarks", "source"),
    "model": ("Base model", "source"),
    "clip": ("CLIP model", "source"),
    "toy": ("Tiny world", "rows"),
    "rollout": ("Rollout", "samples temperature top_p memory_share"),
    "perception": ("Stage 1", _STAGE),
    "reasoning": ("Stage 2", _STAGE),
    "ablation": ("Ablation", "max_steps resume_from"),
    "merged": ("Merged models", "dtype weights"),
    "evaluate": ("Evaluation", "only samples temperature top_p tensor_parallel memory_share"),
    "report": ("Report", "title examples"),
}
# Defaults of the pipeline where they are not those of the step: sources, the numbers of stage 1 and 2, and values that
# must be the same in all steps.
DEFAULTS: dict[str, object] = {
    "sft_source": "toy://sft",
    "rl_source": "toy://rl",
    "benchmarks_source": "toy://benchmarks",
    "model_source": "toy://model",
    "clip_source": "toy://clip",
    "perception_questions_per_step": 560,
    "perception_questions_per_update": 112,
    "reasoning_epochs": 2,
    "max_prompt_tokens": 2048,
    "tokens_per_batch": 16384,
}


@dataclass(frozen=True)
class Parameter:
    """A parameter of the pipeline: its name, type (int, float, str or bool), default and help text."""

    name: str
    type: type
    default: object
    help: str


def fields_of(task: str) -> Iterator[tuple[str, str, Setting]]:
    """The fields of a task that parameters set: parameter name, prefix ("" for none), field."""
    made = TASKS[task]
    for setting in fields(settings_of(made.step)):
        if setting.role or setting.name in made.fixed or setting.name == "executor_input":
            continue
        prefix = next((p for p in made.prefixes if setting.name in PREFIXED[p][1].split()), "")
        yield f"{prefix}_{setting.name}" if prefix else setting.name, prefix, setting


def settings_of(step: str) -> type[StepSettings]:
    """The settings class of a step."""
    found: type[StepSettings] = import_module(f"pebr.{step}.settings").Settings
    return found


def parameters() -> dict[str, Parameter]:
    """All parameters of the pipeline, by name.

    Raises:
        TypeError: two steps have different defaults for a parameter that they share: add it to `DEFAULTS`.
    """
    ablation = "Also train reasoning directly from the warm-up, without perception, and evaluate it."
    found = {
        "ablation": Parameter("ablation", bool, False, ablation),
        "seed": Parameter("seed", int, 0, "Seed of everything random; the same seed gives the same bytes."),
    }
    for task in TASKS:
        for name, prefix, setting in fields_of(task):
            text = f"{PREFIXED[prefix][0]}: {setting.help}" if prefix else setting.help
            made = Parameter(name, setting.type, DEFAULTS.get(name, setting.default), text)
            if found.setdefault(name, made).default != made.default:
                raise TypeError(f"{name}: {found[name].default} or {made.default} ({task})? Add it to DEFAULTS")
    return found


PARAMETERS = parameters()


def documentation(heading: str) -> str:
    """A docstring that lists all parameters."""
    return documented(heading, {made.name: made.help for made in PARAMETERS.values()})


@dataclass(frozen=True)
class Given:
    """A value that the run gives to a pipeline parameter, with the parameter's name."""

    name: str
    value: object


def check(pipeline: Pipeline, values: Mapping[str, object]) -> None:
    """Construct every step's settings before the first step starts, so that wrong values are refused at once.

    `values` are all parameters of the compiled pipeline.

    Raises:
        InputError: a step refuses its settings; the message names the pipeline's parameters.
    """
    made: dict[str, StepSettings] = {}
    for step in pipeline.plan({name: Given(name, value) for name, value in values.items()}):
        if not re.fullmatch(r"pebr\.\w+", step.module):
            continue
        given = {name: source.value for name, source in step.parameters.items() if isinstance(source, Constant)}
        names = {name: value.name for name, value in given.items() if isinstance(value, Given)}
        taken = {
            name: cast(value.value if isinstance(value, Given) else value, step.parameter_types[name])
            for name, value in given.items()
        }
        artifacts = {name: name for name in (*step.artifacts, *step.artifact_outputs)}
        construct: Callable[..., StepSettings] = settings_of(step.module.removeprefix("pebr."))
        try:
            made[step.id] = settings = construct(**taken, **artifacts)
        except InputError as error:
            raise InputError(f"step {step.id}: {_in_parameters(str(error), names)}") from None
        trained = made.get(getattr(step.artifacts.get("checkpoint"), "step", ""))
        if trained and getattr(settings, "weights", "") == "best" and not getattr(trained, "validate_every", 0):
            raise InputError(f"step {step.id}: {names['weights']} best: validations find it, give validate_every")


def _in_parameters(message: str, names: Mapping[str, str]) -> str:
    """A step's message with the pipeline's parameters in place of the step's flags."""

    def parameter(found: re.Match[str]) -> str:
        name = found[1].replace("-", "_")
        return names.get(name, name)

    return re.sub(r"--([a-z][a-z_-]*)", parameter, message)


if __name__ == "__main__":
    print(documentation("The parameters of the pipeline."))
