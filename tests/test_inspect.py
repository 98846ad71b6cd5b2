"""Inspecting data: what is printed, and the page with examples."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pebr.inspect import main
from tests.filter.layouts import BLOCK, ITEMS, geometry, mulberry, pebr_rl


def test_a_source_is_shown_with_its_layout_counts_lengths_and_examples(
    tmp_path: Path, tiny_models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    source, page = tmp_path / "source", tmp_path / "page.html"
    mulberry(source, ITEMS)
    pebr_rl(source, ITEMS)
    rows = json.loads((source / "mulberry_sft.json").read_text())
    rows.append(rows[0] | {"images": "none.png"})
    rows.append({"messages": [{"role": "user", "content": "<script>alert(1)</script>"}]})
    (source / "mulberry_sft.json").write_text(json.dumps(rows))
    assert main([str(source), "--page", str(page), "--model", str(tiny_models["qwen2_5_vl"])]) == 0
    printed = capsys.readouterr().out
    for line in (
        "mulberry_sft: sft rows, JSON",
        "columns: messages, images",
        "rows read: 10",
        "rows kept: 8 (80.0%)",
        "rejected: image missing: 1 (10.0%)",
        "rows with instructions removed: 9 (90.0%)",
        "shorter side of images, pixels: 112 to 112, median 112",
        "pebr_grpo_dataset: rl rows, JSON",
        "prompts over 2048 tokens: 0 (0.0%)",
    ):
        assert line in printed
    html = page.read_text()
    assert html.count("<img") == 16
    assert ITEMS[0].question in html
    assert BLOCK.splitlines()[0] not in html.partition("<h3>Rows rejected")[0].partition("<h3>Rows kept")[2]
    assert "<script>" not in html


def test_only_the_first_rows_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    geometry(tmp_path / "source", ITEMS)
    assert main([str(tmp_path / "source"), "--rows", "3", "--page", str(tmp_path / "page.html")]) == 0
    assert "rows read: 3" in capsys.readouterr().out


def test_a_list_of_sources_is_brought_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mulberry(tmp_path / "a", ITEMS)
    listed = f"{tmp_path / 'a'}:2,toy://pebr:2"
    assert main([listed, "--page", str(tmp_path / "page.html")]) == 0
    assert capsys.readouterr().out.count("rows read: 2") == 2


def test_what_is_no_data_is_said_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pebr.inspect", str(tmp_path / "nothing")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "no such file or folder" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--rows", "-3"], "--rows: give 0 for all"), (["--page", "/nowhere/x.html"], "--page /nowhere")],
)
def test_a_wrong_option_is_said_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert main([str(tmp_path), *options]) == 2
    assert said in capsys.readouterr().err


def test_data_of_which_nothing_can_be_used_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.json").write_text('[{"ask": "x", "reply": "y"}]')
    assert main([str(tmp_path), "--page", str(tmp_path / "page.html")]) == 2
    assert "no row can be used" in capsys.readouterr().err
