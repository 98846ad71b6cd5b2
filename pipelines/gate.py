"""Gates: bounds for a run's scores that must hold before its model is published.

    accuracy>=0.6                                  a number
    accuracy>=published-0.01                       the score of the last published model, minus a margin
    accuracy>evaluate-warm-up:accuracy             a score of another evaluation of the same run
    evaluate-stage-1:clip>=0.7                     a bound for the score of another evaluation
    paired:accuracy>=-0.02                         a bound for the gain over the last published model, per question

Scores are the metrics of an evaluation, by step id and metric. A metric without a step belongs to the final evaluation
(`pipelines.ir.kinds`). A paired gate passes if the whole 95 % interval of the mean difference per question is within
the bound (`pipelines.paired`): `paired:accuracy>=-0.02` if accuracy has fallen by 0.02 at most, `paired:accuracy>0` if
it has risen, `paired:cut_off<=0.01` if not more than 0.01 more answers are cut off.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pebr.errors import InputError
from pipelines.ir.kinds import evaluations
from pipelines.ir.plan import Step
from pipelines.paired import Difference

PUBLISHED, PAIRED = "published", "paired"
Scores = Mapping[str, Mapping[str, float]]
Compare = Callable[[str], Difference]  # a metric's difference to the published model
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
    score: float  # of a paired gate: the end of the interval that is nearer to the bound, or beyond it
    bound: float
    passed: bool
    note: str = ""  # what a paired gate has compared


def check(gate: str, steps: Sequence[Step]) -> bool:
    """Check a gate before the run starts; returns whether it compares with the published model.

    Raises:
        InputError: the gate cannot be read, or names a step that is not an evaluation of the run.
    """
    found = _parse(gate)
    if (found["other_metric"] or "").lower() in ("nan", "inf", "infinity"):
        raise InputError(f"gate {gate!r}: {found['other_metric']} is no bound: give a number")
    if found["step"] == PAIRED:
        if not found["number"]:
            raise InputError(f"gate {gate!r}: the bound of a paired gate is a number, such as paired:accuracy>=-0.02")
        return True
    known = [step.id for step in evaluations(steps)]
    for name in (found["step"], found["other_step"]):
        if name and name not in known:
            raise InputError(f"gate {gate!r}: {name} is no evaluation of this run: give one of {', '.join(known)}")
    return _is_published(found)


def check_published(gate: str, published: Mapping[str, float], questions: Callable[[], object]) -> None:
    """Check before the run starts that the published version has what a gate compares with.

    `questions` reads its scores per question, for a paired gate, and raises `InputError` if there are none.

    Raises:
        InputError: it has not.
    """
    found = _parse(gate)
    if found["step"] == PAIRED:
        questions()
    elif _is_published(found):
        _score(gate, PUBLISHED, found["metric"], {PUBLISHED: published})


def judge(
    gate: str,
    scores: Scores,
    final: str,
    published: Mapping[str, float] | None,
    compare: Compare | None = None,
) -> Verdict:
    """Compare a run's scores, by step id, with a gate; `final` is the id of the final evaluation.

    `published` are the metrics of the last published model, and `compare` returns a metric's difference to it. If there
    is none, a gate that refers to it passes.

    Raises:
        InputError: the gate names a score that the run does not have.

    >>> judge("accuracy >= published - 0.01", {"last": {"accuracy": 0.6}}, "last", {"accuracy": 0.605}).passed
    True
    """
    found = _parse(gate)
    if found["step"] == PAIRED:
        return _judge_pairs(gate, found, compare if published is not None else None)
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


def _judge_pairs(gate: str, found: re.Match[str], compare: Compare | None) -> Verdict:
    """The verdict of a paired gate: of the interval's ends, the one that is nearer to the bound, or beyond it."""
    bound, least = float(found["number"]), found["sign"].startswith(">")
    if compare is None:
        return Verdict(gate, math.inf if least else -math.inf, bound, True, "no model was published before")
    difference = compare(found["metric"])
    score = difference.low if least else difference.high
    return Verdict(gate, score, bound, COMPARISONS[found["sign"]](score, bound), str(difference))


def _parse(gate: str) -> re.Match[str]:
    found = GATE.fullmatch(gate)
    if not found:
        raise InputError(
            f"gate {gate!r}: write it like accuracy>=0.6, accuracy>=published-0.01 or paired:accuracy>=-0.02"
        )
    return found


def _is_published(found: re.Match[str]) -> bool:
    return found["other_metric"] == PUBLISHED and not found["other_step"]


def _score(gate: str, step: str, metric: str, scores: Scores) -> float:
    if metric not in scores.get(step, {}):
        known = ", ".join(f"{name}:{score}" for name in scores for score in scores[name]) or "none"
        raise InputError(f"gate {gate!r}: there is no score {step}:{metric}: give one of {known}")
    return float(scores[step][metric])
