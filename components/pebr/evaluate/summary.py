"""From scored answers to the numbers of a benchmark: accuracy, its parts, and what some benchmarks define besides."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pebr.data.benchmark import BenchmarkRow
from pebr.evaluate.rules import GROUPS, NOTES, literal_list


def summarise(
    benchmark: str,
    rows: Sequence[BenchmarkRow],
    correct: Sequence[float],
    measures: Mapping[str, Sequence[float | None]],
) -> dict[str, Any]:
    """The scores of one benchmark.

    Args:
        benchmark: its TSV name.
        rows: its rows, (N,).
        correct: the share of right answers for each row, in [0, 1], (N,).
        measures: more numbers for each row (N,), averaged over the rows that have them (None where a row has not).

    Returns:
        rows, accuracy, the means of the measures that any row has, accuracy by the benchmark's groups, and its own
        further scores.
    """
    scores: dict[str, Any] = {"rows": len(rows), "accuracy": mean(correct)}
    scores |= {name: value for name, values in measures.items() if (value := mean(values)) is not None}
    scores["by"] = {}
    for column in GROUPS.get(benchmark, ("category", "split")):
        groups = defaultdict(list)
        for row, value in zip(rows, correct, strict=True):
            for label in labels(row, column):
                groups[label].append(value)
        if groups:
            scores["by"][column] = {k: {"rows": len(v), "accuracy": mean(v)} for k, v in sorted(groups.items())}
    if benchmark == "WeMath":
        scores |= wemath(rows, correct)
    if benchmark == "DynaMath":
        scores |= dynamath_worst_case(rows, correct)
    if benchmark in NOTES:
        scores["note"] = NOTES[benchmark]
    return scores


def wemath(rows: Sequence[BenchmarkRow], correct: Sequence[float]) -> dict[str, float]:
    """WeMath's four shares and its two scores (arXiv 2407.01284), over problems of two and three steps.

    A problem has a composite question and one for each step. Composite wrong: insufficient knowledge when a step is
    wrong too, inadequate generalisation when all steps are right. Composite right: complete mastery or rote
    memorisation; strict asks all steps to be right for mastery, loose at least one.
    Score = mastery + 0.5 x inadequate generalisation, as shares of the problems.
    """
    problems: dict[str, dict[str, bool]] = defaultdict(dict)
    for row, value in zip(rows, correct, strict=True):
        problems[row.extra.get("ID", "")][row.extra.get("key", "")] = value >= 0.5
    counts = dict.fromkeys(("insufficient", "inadequate", "mastery_strict", "mastery_loose"), 0)
    total = 0
    for answers in problems.values():
        composite = [right for key, right in answers.items() if key.endswith("multi")]
        steps = [right for key, right in answers.items() if not key.endswith("multi")]
        if not composite or not steps:
            continue
        total += 1
        if composite[0]:
            counts["mastery_strict"] += all(steps)
            counts["mastery_loose"] += any(steps)
        else:
            counts["inadequate" if all(steps) else "insufficient"] += 1
    share = {name: count / total if total else 0.0 for name, count in counts.items()}
    return {
        "score_strict": share["mastery_strict"] + 0.5 * share["inadequate"],
        "score_loose": share["mastery_loose"] + 0.5 * share["inadequate"],
        "insufficient_knowledge": share["insufficient"],
        "inadequate_generalisation": share["inadequate"],
        "complete_mastery_strict": share["mastery_strict"],
        "complete_mastery_loose": share["mastery_loose"],
    }


def dynamath_worst_case(rows: Sequence[BenchmarkRow], correct: Sequence[float]) -> dict[str, float]:
    """DynaMath's worst-case accuracy: the share of questions whose every variant is right (arXiv 2411.00836)."""
    worst: dict[str, float] = {}
    for row, value in zip(rows, correct, strict=True):
        question = row.extra.get("qid", row.index)
        worst[question] = min(worst.get(question, 1.0), value)
    return {"worst_case_accuracy": sum(worst.values()) / len(worst)}


def labels(row: BenchmarkRow, column: str) -> list[str]:
    """A row's labels in a column: several where the cell lists skills, none where it is empty."""
    cell = {"category": row.category, "split": row.split}.get(column) or row.extra.get(column, "")
    if column in {"skills", "skill"}:
        return literal_list(cell) or [part.strip() for part in cell.split(",") if part.strip()]
    return [cell] if cell else []


def overall(benchmarks: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The mean over benchmarks of each number that all of them have."""
    tables = list(benchmarks)
    shared = [k for k, v in tables[0].items() if isinstance(v, float) and all(k in table for table in tables)]
    return {name: sum(table[name] for table in tables) / len(tables) for name in shared}


def mean(values: Sequence[float | None]) -> float | None:
    """The mean of the values that are there, or None when none is.

    >>> mean([0.25, None, 0.75])
    0.5
    """
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None
