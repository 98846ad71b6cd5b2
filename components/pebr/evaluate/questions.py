"""The scores of each question, one JSON object per line: two evaluations can be compared question by question."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TextIO

from pebr.data.benchmark import BenchmarkRow


def write_questions(
    file: TextIO, benchmark: str, rows: Sequence[BenchmarkRow], scores: Mapping[str, Sequence[float | None]]
) -> None:
    """Append the questions of a benchmark.

    Args:
        file: opened for writing.
        benchmark: TSV name.
        rows: that count, (N,).
        scores: by name, (N,); means over a question's answers, None where a question has no such score.
    """
    for place, row in enumerate(rows):
        values = {name: column[place] for name, column in scores.items() if column[place] is not None}
        line = {"benchmark": benchmark, "qid": row.index, "digest": digest_of(row), **values}
        file.write(json.dumps(line, sort_keys=True) + "\n")


def digest_of(row: BenchmarkRow) -> str:
    """16 digits that change with the question, its options, its answer and its images."""
    images = [hashlib.sha256(data).hexdigest() for data in row.images]
    asked = [row.question, sorted(row.options.items()), row.answer, images]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
