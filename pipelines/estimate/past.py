"""What an earlier run has taken: of each step its settings, seconds, GPUs, numbers, and bytes of its outputs.

`pipelines.run` keeps these facts below its folder, `submit --publish` in the records of versions. The seconds of a step
that trains are also those of its history, which is complete after a kill: the metrics of a resumed step have the
seconds of the last attempt only.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pipelines.ir.kinds import INGEST
from pipelines.ir.plan import Constant, Json, Output, Source, Step

SOURCE_BYTES = "source_bytes"  # among the metrics of an ingest step
HISTORY_SECONDS = ("seconds", "seconds_step")  # of a training step, in the histories of sft and grpo


@dataclass(frozen=True)
class PastStep:
    """A step of an earlier run."""

    signature: str  # of `signatures`
    seconds: float
    gpus: int
    settings: Json = field(default_factory=dict)  # values of its parameters, by the step's names
    metrics: Mapping[str, float] = field(default_factory=dict)
    bytes: Mapping[str, int] = field(default_factory=dict)  # of its outputs
    trained: float = 0.0  # seconds of all training steps; 0 if it does not train, or that is unknown


Past = Mapping[str, PastStep]  # the steps of one run, by id


def facts(past: Past) -> dict[str, Any]:
    """The facts of a run as JSON has them."""
    return {name: asdict(step) for name, step in past.items()}


def from_facts(document: Json) -> dict[str, PastStep]:
    """A run's steps from its facts; steps that were written in another form are left out."""
    found = {}
    for name, step in document.items():
        try:
            found[name] = PastStep(**step)
        except TypeError:
            continue
    return found


def past_of(
    steps: Sequence[Step],
    image: str,
    metrics: Mapping[str, Mapping[str, float]],
    sizes: Mapping[str, Mapping[str, int]],
    histories: Mapping[str, Iterable[Json]] = {},
    size_of: Callable[[str], int] = lambda _: 0,
) -> dict[str, PastStep]:
    """The facts of a run that has ended.

    Args:
        steps: of the run.
        image: of its containers.
        metrics: of each step, as it has written them; a step without any is left out.
        sizes: bytes of each step's outputs.
        histories: rows of the steps that train.
        size_of: bytes of a source, 0 if unknown: what `ingest` writes has another size, since it packs images.
    """
    signed = signatures(steps, image)
    found = {}
    for step in steps:
        if not (own := metrics.get(step.id)):
            continue
        settings = settings_of(step)
        if size := size_of(str(settings.get("source", ""))) if step.module == INGEST else 0:
            own = {**own, SOURCE_BYTES: float(size)}
        rows = list(histories.get(step.id, ()))
        trained = sum(float(row.get(name) or 0.0) for row in rows for name in HISTORY_SECONDS)
        seconds = max(float(own.get("seconds", 0.0)), trained)
        made = sizes.get(step.id, {})
        found[step.id] = PastStep(signed[step.id], seconds, gpus_of(step), settings, own, made, trained)
    return found


def settings_of(step: Step) -> dict[str, object]:
    """The parameters of a step that are known before it starts."""
    return {name: source.value for name, source in step.parameters.items() if isinstance(source, Constant)}


def gpus_of(step: Step) -> int:
    """The GPUs that a step requests."""
    return int(step.resources.get("accelerator", {}).get("resourceCount", 0))


def signatures(steps: Sequence[Step], image: str) -> dict[str, str]:
    """A digest per step of all that it is made from: image, command, parameters, and the signatures of its inputs."""
    by_id = {step.id: step for step in steps}
    made: dict[str, str] = {}

    def sign(step: Step) -> str:
        if step.id not in made:
            sources = {**step.parameters, **step.artifacts}
            parts = [image, step.command, {n: _source(source, upstream) for n, source in sources.items()}]
            made[step.id] = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]
        return made[step.id]

    def upstream(output: Output) -> str:
        return sign(by_id[output.step])

    return {step.id: sign(step) for step in steps}


def _source(source: Source, upstream: Callable[[Output], str]) -> object:
    if isinstance(source, Constant):
        return source.value
    if isinstance(source, Output):
        return [upstream(source), source.name]
    return [_source(inner, upstream) for inner in getattr(source, "sources", ())] or repr(source)
