"""Turns scored answers into the scores of a benchmark: accuracy, accuracy by group, and the benchmark's own scores."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pebr.benchmarks.rules import benchmark_of, literal_list
from pebr.data.benchmark import BenchmarkRow

Scores = dict[str, Any]  # numbers by name, and `by`, `note` and `set_aside`


def summarise(
    benchmark: str,
    rows: Sequence[BenchmarkRow],
    correct: Sequence[float],
    measures: Mapping[str, Sequence[float | None]],
) -> Scores:
    """The scores of one benchmark.

    Args:
        benchmark: TSV name.
        rows: of the benchmark, (N,).
        correct: share of correct answers per row, in [0, 1], (N,).
        measures: other numbers per row, (N,), averaged over the rows that are not None.

    Returns:
        rows, accuracy, the means of the measures that any row has, accuracy by group, and the benchmark's own scores.
    """
    record = benchmark_of(benchmark)
    scores: Scores = {"rows": len(rows), "accuracy": mean(correct)}
    scores |= {name: value for name, values in measures.items() if (value := mean(values)) is not None}
    scores["by"] = {}
    for column in record.groups:
        groups = defaultdict(list)
        for row, value in zip(rows, correct, strict=True):
            for label in labels(row, column):
                groups[label].append(value)
        if groups:
            scores["by"][column] = {k: {"rows": len(v), "accuracy": mean(v)} for k, v in sorted(groups.items())}
    if record.more_scores:
        scores |= record.more_scores(rows, correct)
    if record.note:
        scores["note"] = record.note
    return scores


def labels(row: BenchmarkRow, column: str) -> list[str]:
    """The labels of a row in a column: several if the cell lists skills, none if it is empty."""
    cell = cell_of(row, column)
    if column in {"skills", "skill"}:
        return literal_list(cell) or [part.strip() for part in cell.split(",") if part.strip()]
    return [cell] if cell else []


def cell_of(row: BenchmarkRow, column: str) -> str:
    """The text of a row in a column; "" for none."""
    fields = {"category": row.category, "split": row.split, "answer_type": row.answer_type}
    return fields.get(column) or row.extra.get(column, "")


def missing_columns(benchmark: str, rows: Sequence[BenchmarkRow]) -> list[str]:
    """The columns that a benchmark's rule and scores read and that no row has."""
    return [column for column in benchmark_of(benchmark).columns if not any(cell_of(row, column) for row in rows)]


def overall(benchmarks: Iterable[Scores]) -> dict[str, float]:
    """The mean over benchmarks of each number that all benchmarks have."""
    tables = list(benchmarks)
    shared = [k for k, v in tables[0].items() if isinstance(v, float) and all(k in table for table in tables)]
    return {name: sum(table[name] for table in tables) / len(tables) for name in shared}


def mean(values: Sequence[float | None]) -> float | None:
    """The mean of the values that are not None, or None if there are none.

    >>> mean([0.25, None, 0.75])
    0.5
    """
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None
