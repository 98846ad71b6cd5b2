"""A history file survives kills and resumes."""

from pathlib import Path

import pytest

from pebr.telemetry.history import History, read_history


def test_resume_cuts_the_rows_after_the_checkpoint(tmp_path: Path) -> None:
    history = History(tmp_path / "h.jsonl")
    for step in (1, 2, 3):
        history.append({"step": step})
    History(tmp_path / "h.jsonl", [{"step": 1}, {"step": 2}]).append({"step": 3, "again": True})
    assert read_history(tmp_path / "h.jsonl") == [{"step": 1}, {"step": 2}, {"step": 3, "again": True}]


def test_a_line_cut_short_by_a_kill_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "h.jsonl").write_text('{"step": 1}\n{"step": 2, "lo')
    assert read_history(tmp_path / "h.jsonl") == [{"step": 1}]


def test_a_new_run_starts_an_empty_history(tmp_path: Path) -> None:
    (tmp_path / "h.jsonl").write_text('{"step": 1}\n')
    History(tmp_path / "h.jsonl")
    assert read_history(tmp_path / "h.jsonl") == []


def test_a_kill_while_it_is_cut_loses_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "h.jsonl"
    History(path, [{"step": 1}, {"step": 2}])

    def killed(_self: Path, _target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        History(path, [{"step": 1}])
    assert read_history(path) == [{"step": 1}, {"step": 2}]
