"""Further measures of a description, for benchmarks whose rows have the image's content as data.

A table may have a column that tells what its images show and what is asked, in a form that a program can read. The
measures of that column say how much of the image a description holds, and whether the question can be answered from the
description alone: so they separate seeing from reasoning. A table without such a column has none of them.
"""

from collections.abc import Callable, Mapping

from pebr.data.benchmark import BenchmarkRow
from pebr.toy.board import solver

BY_COLUMN: Mapping[str, Callable[[str, str], dict[str, float]]] = {"board": solver.measures}
NAMES = ("oracle", "described", "stated_right")


def described(row: BenchmarkRow, description: str) -> dict[str, float]:
    """The measures of a description by the columns that the row has; {} if it has none, or none that can be read.

    Args:
        row: of the benchmark.
        description: of its image, from the response.
    """
    found: dict[str, float] = {}
    for column, measures in BY_COLUMN.items():
        if cell := row.extra.get(column):
            try:
                found |= measures(cell, description)
            except (ValueError, LookupError, TypeError):  # another table's column of this name
                continue
    return found
