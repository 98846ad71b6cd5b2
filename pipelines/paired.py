"""Two evaluations of the same questions, compared question by question.

The answers of two models to one question are alike: hard questions are hard for both. The differences per question are
therefore much less spread than the scores, and the interval of their mean is narrower than those of two separate means
(paired differences: Miller, Adding Error Bars to Evals, arXiv 2411.00640, section 4.2).

A score is the mean over benchmarks of each benchmark's mean over its questions. So is the difference, and its variance
is that of a stratified mean: sum over benchmarks of s_b^2 / n_b, divided by the square of their number. The interval is
the normal one, which needs some tens of questions: `LEAST`.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import NormalDist, fmean, variance

from pebr.errors import InputError

LEAST = 30  # questions of a comparison
LEVEL = 0.95  # of the interval
Question = tuple[str, str, str]  # benchmark, id, digest of the question with its options, answer and images
Results = Mapping[Question, Mapping[str, float]]  # scores of each question, by name


@dataclass(frozen=True)
class Difference:
    """The mean difference per question of a score: the new model's minus the old one's."""

    metric: str
    mean: float
    low: float  # of the interval
    high: float
    before: float  # the old model's mean over the same questions
    after: float
    questions: int  # that both have answered
    better: int  # questions with a higher score
    worse: int
    left_out: int  # questions that only one of the two has
    benchmarks: Mapping[str, float]  # mean difference of each

    def __str__(self) -> str:
        told = (
            f"{self.metric} {self.before:.4g} before, {self.after:.4g} now, over the same {self.questions} questions:"
            f" difference {self.mean:+.4f}, {LEVEL:.0%} interval {self.low:+.4f} to {self.high:+.4f};"
            f" {self.better} questions better, {self.worse} worse"
        )
        if len(self.benchmarks) > 1:
            name, least = min(self.benchmarks.items(), key=lambda item: item[1])
            told += f"; least in {name}, {least:+.4f}"
        return told + (f"; {self.left_out} questions that only one of the two has are left out" * bool(self.left_out))


def compare(metric: str, new: Results, old: Results) -> Difference:
    """The difference of a score over the questions that both evaluations have.

    Raises:
        InputError: fewer than `LEAST` questions are in both and have the score.
    """
    pairs: dict[str, list[tuple[float, float]]] = {}
    for question in sorted(new.keys() & old.keys()):
        if metric in new[question] and metric in old[question]:
            pairs.setdefault(question[0], []).append((old[question][metric], new[question][metric]))
    shared = sum(map(len, pairs.values()))
    if shared < LEAST:
        raise InputError(
            f"{metric}: {shared} questions with this score are in both evaluations ({len(old)} before, {len(new)} now),"
            f" fewer than {LEAST}: use the same benchmarks, or publish once without the paired gate"
        )
    by = {name: [after - before for before, after in rows] for name, rows in pairs.items()}
    means = {name: fmean(rows) for name, rows in by.items()}
    mean, half = fmean(means.values()), half_width(by.values())
    every = [change for rows in by.values() for change in rows]
    return Difference(
        metric=metric,
        mean=mean,
        low=mean - half,
        high=mean + half,
        before=fmean(fmean(before for before, _ in rows) for rows in pairs.values()),
        after=fmean(fmean(after for _, after in rows) for rows in pairs.values()),
        questions=shared,
        better=sum(change > 0 for change in every),
        worse=sum(change < 0 for change in every),
        left_out=len(new.keys() ^ old.keys()),
        benchmarks=means,
    )


def half_width(groups: Iterable[list[float]], level: float = LEVEL) -> float:
    """Half the width of the normal interval of the mean of the groups' means; infinite if a group has one value.

    >>> round(half_width([[0.0, 1.0] * 50]), 4)  # 1.96 * 0.5025 / 10
    0.0985
    """
    rows = list(groups)
    if any(len(group) < 2 for group in rows):
        return math.inf
    squared = sum(variance(group) / len(group) for group in rows) / len(rows) ** 2
    return NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(squared)


def read_results(lines: Iterable[str], place: str) -> dict[Question, dict[str, float]]:
    """The results in the lines of a file of `pebr.evaluate.questions`; `place` names it in errors.

    Raises:
        InputError: a line is not one of such a file.
    """
    found: dict[Question, dict[str, float]] = {}
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            question = (str(row.pop("benchmark")), str(row.pop("qid")), str(row.pop("digest")))
            found[question] = {str(name): float(value) for name, value in row.items()}
        except (ValueError, TypeError, KeyError, AttributeError):
            raise InputError(f"{place}, line {number}: no scores of a question: evaluate again") from None
    return found
