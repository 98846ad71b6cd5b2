"""Gates: what a run's scores must reach before its model is published.

    accuracy>=0.6                                  a number
    accuracy>=published-0.01                       the last published model's score, less a margin
    accuracy>evaluate-warm-up:accuracy             another evaluation of the same run
    evaluate-stage-1:clip>=0.7                     a score of another evaluation

Scores are an evaluation's metrics, by step and metric; a metric without a step is of `FINAL`, the evaluation of the
model that the pipeline makes. What was published is a small file, `latest.json`, at a place of your choice: it names
the run, its scores and its model, which stays where the run has put it.
"""

import json
import math
import operator
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pebr.errors import InputError
from pebr.store.contract import NotThereError
from pebr.store.opening import open_store

FINAL = "evaluate-stage-2"
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
    """What came of a gate: the score, what it was held against, and whether it passed."""

    gate: str
    score: float
    bound: float
    passed: bool


def check(gate: str) -> bool:
    """See that a gate can be read; returns whether it asks for what was published.

    Raises:
        InputError: when it cannot be read.
    """
    return _is_published(_parse(gate))


def judge(gate: str, scores: Scores, published: Mapping[str, float] | None) -> Verdict:
    """Hold a run's scores against a gate.

    Args:
        gate: as above.
        scores: metrics by step.
        published: the last published model's metrics; None where nothing was published yet: such a bound is passed.

    Raises:
        InputError: when the gate names a score that the run has not.

    >>> judge("accuracy >= published - 0.01", {"evaluate-stage-2": {"accuracy": 0.6}}, {"accuracy": 0.605}).passed
    True
    """
    found = _parse(gate)
    score = _score(gate, found["step"] or FINAL, found["metric"], scores)
    if found["number"]:
        bound = float(found["number"])
    elif _is_published(found):
        bound = -math.inf if published is None else _score(gate, PUBLISHED, found["metric"], {PUBLISHED: published})
        if published is None and found["sign"].startswith("<"):
            bound = math.inf
    else:
        bound = _score(gate, found["other_step"] or FINAL, found["other_metric"], scores)
    bound += float((found["margin"] or "0").replace(" ", ""))
    return Verdict(gate, score, bound, COMPARISONS[found["sign"]](score, bound))


def last_published(location: str) -> dict[str, Any] | None:
    """What was published last at a location (a folder or `s3://` prefix); None where nothing was.

    Raises:
        InputError: when something is there that `publish` has not written.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "latest.json"
        try:
            open_store(location).get("latest.json", path)
        except NotThereError:
            return None
        try:
            told = json.loads(path.read_text())
            return {**told, "scores": {name: float(score) for name, score in told["scores"].items()}}
        except (ValueError, TypeError, KeyError, AttributeError):
            raise InputError(
                f"{location}/latest.json: it names no scores: mend it, or remove it to start anew"
            ) from None


def publish(location: str, run: str, model: str, scores: Mapping[str, float], more: Mapping[str, str]) -> None:
    """Write `latest.json`, and the same under the run's name, so that what was published before can be found.

    Args:
        location: a folder or `s3://` prefix.
        run: the run's name.
        model: where its model lies; `model_source` of a later run may be this.
        scores: the final evaluation's metrics.
        more: what else to tell: commit, recipe, image.
    """
    told = {"run": run, "model": model, "scores": dict(scores), **more}
    store = open_store(location)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "published.json"
        path.write_text(json.dumps(told, indent=1) + "\n")
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
        raise InputError(f"gate {gate!r}: there is no score {step}:{metric}: known are {known}")
    return float(scores[step][metric])
