"""The bytes that have arrived are logged while they come."""

import logging
import re
import time
from pathlib import Path

import pytest

from pebr.ingest.watching import bytes_in, watched


def lines_of(folder: Path, total: int, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Write 2 MB and wait until a line tells of them."""
    with caplog.at_level(logging.INFO, "pebr"), watched(folder, total, "copy", every_seconds=0.01):
        (folder / "a").write_bytes(bytes(2_000_000))
        until = time.monotonic() + 30
        while not any("2.0" in record.message for record in caplog.records) and time.monotonic() < until:
            time.sleep(0.01)
    return [record.message for record in caplog.records]


def test_a_line_has_bytes_rate_and_the_time_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    last = lines_of(tmp_path, 4_000_000, caplog)[-1]
    assert re.fullmatch(r"copy: 2\.0 of 4\.0 MB, [\d.]+ MB per second, [\d.]+ s left", last)


def test_without_the_whole_size_no_time_is_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert re.fullmatch(r"copy: 2\.0 MB, [\d.]+ MB per second", lines_of(tmp_path, 0, caplog)[-1])


def test_bytes_of_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_bytes(b"123")
    (tmp_path / "b").symlink_to("sub/a")
    (tmp_path / "gone").symlink_to("nowhere")
    assert (bytes_in(tmp_path), bytes_in(tmp_path / "b"), bytes_in(tmp_path / "none")) == (6, 3, 0)
