"""The tables of docs/claim.md, from results that are made up here."""

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from benchmarks.claim import PAGE, seeds_of
from benchmarks.experiment import figure
from benchmarks.experiment.arms import STARTS, arms, values
from benchmarks.experiment.page import BEGIN, END, MEASURES, paired, tables, write

ARMS = arms(values())


def result(value: float) -> dict[str, Any]:
    curves = [{"reward/accuracy": [value, None, value + 0.1], "reward": [1.0, 1.0, 1.0]}]
    return {
        "scores": dict.fromkeys(MEASURES, value),
        "by_hops": {"1 hop": value, "2 hops": value / 2},
        "curves": curves,
    }


def made(**by_arm: list[float]) -> dict[int, dict[str, Any]]:
    seeds = range(max(map(len, by_arm.values())))
    return {seed: {arm: result(found[seed]) for arm, found in by_arm.items() if seed < len(found)} for seed in seeds}


RESULTS = made(warm_up=[0.2, 0.3, 0.4], reasoning_steps=[0.30, 0.40, 0.50], two_stages=[0.35, 0.44])


def test_differences_are_of_the_seeds_that_both_have() -> None:
    found = paired(RESULTS, "reasoning_steps", "two_stages", "accuracy")
    assert found is not None
    assert (found.pairs, found.mean) == (2, pytest.approx(0.045))
    assert paired(RESULTS, "reasoning_steps", "mixed", "accuracy") is None


def test_the_tables_tell_what_there_is() -> None:
    text = tables(RESULTS, ARMS)
    assert "| warm-up | 3 | 0.300 |" in text
    assert "| two stages − reasoning only, equal training steps | 2 | **+0.045 [+0.040, +0.050]** |" in text
    assert "mixed" not in text
    assert tables({}, ARMS) == "No results yet."


def test_the_page_keeps_what_is_around_the_results(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    begin, end = BEGIN.format("sees"), END.format("sees")
    page.write_text(f"# Title\n\n{begin}\n\nold\n\n{end}\n\nafter\n")
    for _ in range(2):
        write(page, "sees", "new")
        assert page.read_text() == f"# Title\n\n{begin}\n\nnew\n\n{end}\n\nafter\n"
    with pytest.raises(ValueError, match="no line"):
        write(page, "sees_poorly", "new")


def test_the_page_has_a_part_and_a_figure_for_each_start() -> None:
    text = PAGE.read_text()
    for start in STARTS.values():
        assert BEGIN.format(start.name) in text
        assert f"({figure.name_of(start)})" in text


def test_the_figure_has_a_dot_per_seed_and_a_line_per_arm() -> None:
    root = ET.fromstring(figure.draw(RESULTS, ARMS))
    shapes = [node.tag.partition("}")[2] for node in root.iter()]
    assert shapes.count("circle") == 3 * (3 + 3 + 2)
    assert shapes.count("polyline") == 3
    ET.fromstring(figure.draw({}, ARMS))


def test_seeds_are_ranges_and_lists() -> None:
    assert seeds_of("0-2, 7") == [0, 1, 2, 7]
