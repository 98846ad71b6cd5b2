"""Gates: bounds for a run's scores that must hold before its model is published.

    accuracy>=0.6                                  a number
    accuracy>=published-0.01                       the score of the last published model, minus a margin
    accuracy>evaluate-warm-up:accuracy             a score of another evaluation of the same run
    evaluate-stage-1:clip>=0.7                     a bound for the score of another evaluation

Scores are the metrics of an evaluation, by step id and metric. A metric without a step belongs to the final evaluation
(`pipelines.ir.kinds`). `publish` writes a small file, `latest.json`, to a folder or S3 prefix. It names the run, its
scores and its model; the model itself is not moved.
"""

import json
import math
import operator
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pebr.errors import InputError
from pebr.store.contract import NotThereError
from pebr.store.opening import open_store
from pipelines.ir.kinds import evaluations
from pipelines.ir.plan import Step

PUBLISHED = "published"
Scores = Mapping[str, Mapping[str, float]]
COMPARISONS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
NUMBER = r"\d+(?:\.\d*)?(?:[eE][-+]?\d+)?"
NAME = r"(?:(?P<{0}step>[a-z0-9-]+):)?(?P<{0}metric>[A-Za-z_][\w/]*)"
GATE = re.compile(
    rf"\s*{NAME.format('')}\s*(?P<sign>>=|<=|>|<)\s*"
    rf"(?:(?P<number>-?{NUMBER})|{NAME.format('other_')}(?:\s*(?P<margin>[-+]\s*{NUMBER}))?)\s*"
)


@dataclass(frozen=True)
class Verdict:
    """The result of a gate: the score, its bound, and whether the gate passed."""

    gate: str
    score: float
    bound: float
    passed: bool


def check(gate: str, steps: Sequence[Step]) -> bool:
    """Check a gate before the run starts; returns whether its bound is the published score.

    Raises:
        InputError: the gate cannot be read, or names a step that is not an evaluation of the run.
    """
    found = _parse(gate)
    known = [step.id for step in evaluations(steps)]
    for name in (found["step"], found["other_step"]):
        if name and name not in known:
            raise InputError(f"gate {gate!r}: {name} is no evaluation of this run: give one of {', '.join(known)}")
    return _is_published(found)


def judge(gate: str, scores: Scores, final: str, published: Mapping[str, float] | None) -> Verdict:
    """Compare a run's scores, by step id, with a gate; `final` is the id of the final evaluation.

    `published` are the metrics of the last published model. If there is none, a bound that refers to it passes.

    Raises:
        InputError: the gate names a score that the run does not have.

    >>> judge("accuracy >= published - 0.01", {"last": {"accuracy": 0.6}}, "last", {"accuracy": 0.605}).passed
    True
    """
    found = _parse(gate)
    score = _score(gate, found["step"] or final, found["metric"], scores)
    if found["number"]:
        bound = float(found["number"])
    elif _is_published(found):
        bound = -math.inf if published is None else _score(gate, PUBLISHED, found["metric"], {PUBLISHED: published})
        if published is None and found["sign"].startswith("<"):
            bound = math.inf
    else:
        bound = _score(gate, found["other_step"] or final, found["other_metric"], scores)
    bound += float((found["margin"] or "0").replace(" ", ""))
    return Verdict(gate, score, bound, COMPARISONS[found["sign"]](score, bound))


def last_published(location: str) -> dict[str, float] | None:
    """Read the scores of a location's `latest.json` (a folder or `s3://` prefix); None if there is no such file.

    Raises:
        InputError: the file was not written by `publish`.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "latest.json"
        try:
            open_store(location).get("latest.json", path)
        except NotThereError:
            return None
        try:
            scores = json.loads(path.read_text())["scores"]
            return {name: float(score) for name, score in scores.items()}
        except (ValueError, TypeError, KeyError, AttributeError):
            raise InputError(
                f"{location}/latest.json: it names no scores: fix it, or remove it to start without a published model"
            ) from None


def publish(location: str, run: str, model: str, scores: Mapping[str, float], more: Mapping[str, str]) -> None:
    """Write `latest.json`, and a copy under the run's name, which later runs do not overwrite.

    Args:
        location: a folder or `s3://` prefix.
        model: location of the run's model; can be the `model_source` of a later run.
        scores: metrics of the final evaluation.
        more: further fields: commit, recipe, image.
    """
    record = {"run": run, "model": model, "scores": dict(scores), **more}
    store = open_store(location)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "published.json"
        path.write_text(json.dumps(record, indent=1) + "\n")
        store.put(path, f"{run}.json")
        store.put(path, "latest.json")


def _parse(gate: str) -> re.Match[str]:
    found = GATE.fullmatch(gate)
    if not found:
        raise InputError(f"gate {gate!r}: write it like accuracy>=0.6 or accuracy>=published-0.01")
    return found


def _is_published(found: re.Match[str]) -> bool:
    return found["other_metric"] == PUBLISHED and not found["other_step"]


def _score(gate: str, step: str, metric: str, scores: Scores) -> float:
    if metric not in scores.get(step, {}):
        known = ", ".join(f"{name}:{score}" for name in scores for score in scores[name]) or "none"
        raise InputError(f"gate {gate!r}: there is no score {step}:{metric}: give one of {known}")
    return float(scores[step][metric])
