"""A history is followed while it grows, is cut off, and is replaced."""

from pathlib import Path

from pebr.telemetry.history import History, read_history
from pebr.telemetry.tail import Tail


def test_the_rows_so_far_are_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "history"
    tail = Tail(path)
    assert tail.rows() == []
    assert tail.changed == 0
    history = History(path)
    for step in range(1, 4):
        history.append({"step": step})
        assert tail.rows() == read_history(path)
    with path.open("a") as file:
        file.write('{"step": 4')
    assert len(tail.rows()) == 3
    with path.open("a") as file:
        file.write("}\n")
    assert tail.rows()[-1] == {"step": 4}
    assert tail.changed > 0


def test_a_resumed_step_replaces_it(tmp_path: Path) -> None:
    path = tmp_path / "history"
    History(path, [{"step": 1}, {"step": 2}, {"step": 3}])
    tail = Tail(path)
    assert len(tail.rows()) == 3
    resumed = History(path, [{"step": 1}])
    resumed.append({"step": 2, "again": True})
    assert tail.rows() == read_history(path) == [{"step": 1}, {"step": 2, "again": True}]
