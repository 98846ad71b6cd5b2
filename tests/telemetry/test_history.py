"""A history file survives kills and resumes."""

from pathlib import Path

from pebr.telemetry.history import History, read_history


def test_resume_cuts_the_rows_after_the_checkpoint(tmp_path: Path) -> None:
    history = History(tmp_path / "h.jsonl")
    for step in (1, 2, 3):
        history.append({"step": step})
    History(tmp_path / "h.jsonl", resume_step=2).append({"step": 3, "again": True})
    assert read_history(tmp_path / "h.jsonl") == [{"step": 1}, {"step": 2}, {"step": 3, "again": True}]


def test_a_line_cut_short_by_a_kill_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "h.jsonl").write_text('{"step": 1}\n{"step": 2, "lo')
    assert read_history(tmp_path / "h.jsonl") == [{"step": 1}]


def test_a_new_run_starts_an_empty_history(tmp_path: Path) -> None:
    (tmp_path / "h.jsonl").write_text('{"step": 1}\n')
    History(tmp_path / "h.jsonl")
    assert read_history(tmp_path / "h.jsonl") == []
