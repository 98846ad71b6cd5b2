"""A GRPO stage that counts encodings: ENCODINGS=folder python -m tests.grpo.counting --model ...

Each rank writes a line per encoded question, with its thread, and a line per question that it gets from another rank.
Each of two ranks trains on the questions of the other one, so that all of them are exchanged.
"""

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pebr.grpo import micro_batches
from pebr.grpo.prompts import Move, Prompts
from pebr.grpo.settings import Settings
from pebr.grpo.work import work
from pebr.step.command import main
from pebr.vlm.encoding import Encoder, Prompt

ENCODE, EXCHANGE = Encoder.prompt, Prompts.exchange
TURN = threading.Lock()


def note(line: str) -> None:
    with TURN, (Path(os.environ["ENCODINGS"]) / os.environ.get("RANK", "0")).open("a") as file:
        file.write(f"{line}\n")


def prompt(self: Encoder, problem: str, *arguments: Any) -> Prompt:
    note(f"encoded by {'the loop' if threading.current_thread() is threading.main_thread() else 'a thread'}")
    return ENCODE(self, problem, *arguments)


def exchange(self: Prompts, moves: Sequence[Move]) -> None:
    for move in moves:
        if move.to == self.place.rank:
            note("got")
    EXCHANGE(self, moves)


def swapped(owners: Sequence[int], _lengths: Sequence[int], _ranks: int) -> list[list[int]]:
    return [[row for row, owner in enumerate(owners) if owner != rank] for rank in range(2)]


if __name__ == "__main__":
    Encoder.prompt = prompt  # type: ignore[method-assign]
    Prompts.exchange = exchange  # type: ignore[method-assign]
    micro_batches.deal_from = swapped
    main(Settings, work)
