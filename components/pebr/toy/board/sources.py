"""The sources of the board: toy://board/sft, board/rl, board/benchmarks, board/model and board/clip.

A difficulty may follow, as in `toy://board/rl?objects=8-14&hops=2-3&left_out=0.4` (`pebr.toy.board.world`); a model has
the words of all difficulties.
"""

from functools import partial
from pathlib import Path

from pebr.toy.board.clip import train_clip
from pebr.toy.board.model import build
from pebr.toy.board.world import Difficulty, questions
from pebr.toy.formats import write_benchmarks, write_pebr, write_rl

ROWS = {"sft": 6000, "rl": 320, "benchmarks": 200}  # of each data set, if no number is given


def make(name: str, difficulty: str, output: Path, seed: int, rows: int) -> None:
    """Write a source; the same arguments give the same bytes.

    Raises:
        InputError: the difficulty cannot be read.
    """
    ask = partial(questions, difficulty=Difficulty.of(difficulty))
    name = name.removeprefix("board/")
    rows = rows or ROWS.get(name, 0)
    match name:
        case "model":
            build(output, seed)
        case "clip":
            train_clip(output, seed)
        case "sft":
            write_pebr(output, seed, rows, ask)
        case "rl":
            write_rl(output, seed, rows, ask)
        case _:
            write_benchmarks(output, seed, rows, ask)
