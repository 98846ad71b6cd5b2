"""The terminal shows how far each running step is, its newest numbers, and the conditions that hold."""

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from pipelines.local import progress, terminal
from pipelines.local.artifacts import Status
from pipelines.local.progress import Histories, Progress, progress_of

LOG = """--- 2026-01-01 12:00:00 attempt 1
12:00:00 INFO step 19 of 50: reward 0.4, loss 0.1, 45 tokens per answer, 3.2 s, 2 min 3 s left
12:00:01 INFO step 20 of 50: reward 0.512, loss 0.1, 45 tokens per answer, 4.0 s, 2 min left
12:00:01 INFO checkpoint of step 20 written to output.checkpoints
"""


def histories(folder: Path, rows: list[dict[str, Any]]) -> Histories:
    (folder / "grpo" / "key").mkdir(parents=True, exist_ok=True)
    beside = folder / "beside"
    beside.write_text("".join(json.dumps(row) + "\n" for row in rows))
    beside.replace(folder / "grpo" / "key" / "history")
    return Histories(lambda step, key: folder / step / key)


def rows_of(cut_off: float) -> list[dict[str, Any]]:
    row = {"reward": 0.512, "truncated_share": cut_off, "seconds_sampling": 3.0, "seconds_training": 1.0}
    return [{"step": i, **row, "validation/reward": 0.48} for i in range(1, 21)]


def running() -> Status:
    return Status("grpo", "Stage 2", "running", "key", attempts=1, started=time.time() - 9)


def test_progress_is_that_of_the_last_line_with_one() -> None:
    assert progress_of(LOG.splitlines()) == Progress(20, 50, "4.0 s per step", "2 min")
    assert progress_of(["INFO data: 300, 99.1 per second, 3 s"]) is None  # the whole is not known
    assert progress_of(["INFO rollout: 600 of 600, 9.1 per second, 1 min 6 s", "INFO 3 shards"]) is None
    assert progress_of([]) is None


def test_the_table_of_a_running_step(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(LOG)
    step: Any = SimpleNamespace(id="grpo", title="Stage 2")
    console = Console(width=160, record=True, file=(tmp_path / "screen").open("w"))
    found = histories(tmp_path, rows_of(cut_off=0.5))
    console.print(terminal._table([step], {"grpo": running()}, lambda _: log, found))
    text = console.export_text()
    assert "20 of 50, 2 min left, reward 0.512, validation reward 0.480, 4.0 s per step" in text
    assert "━━━━━" in text
    assert "! Stage 2: 50% of the answers are cut off" in text


def test_elsewhere_a_condition_is_one_line_when_it_begins_and_when_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "CONDITIONS_SECONDS", 0.0)
    status = running()
    view = terminal._lines(histories(tmp_path, rows_of(0.0)))
    for cut_off in (0.0, 0.5, 0.5, 0.0):
        histories(tmp_path, rows_of(cut_off))
        view({"grpo": status})
    status.state, status.seconds = "done", 12.0
    view({"grpo": status})
    lines = [line.partition(" ")[2] for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "grpo: running",
        "grpo: warning: 50% of the answers are cut off: raise max_response_tokens, or warm the model up longer",
        "grpo: answers_cut_off no longer holds",
        "grpo: done in 12.0 s",
    ]
