"""The charts of a stage hold what they show."""

import re

from pebr.report.curves import Stage, stage_charts, validation_chart


def heights(svg: str) -> list[float]:
    """The vertical places of all points of the lines, and the height of the chart."""
    paths = re.findall(r'<path class="line [^"]*" d="([^"]*)"', svg)
    return [float(y) for path in paths for y in re.findall(r"[ML]?-?[\d.]+[ ,](-?[\d.]+)", path)]


def test_penalties_and_weights_above_1_stay_inside_the_chart() -> None:
    rows = [
        {"step": step, "reward": 0.2, "reward/overlong": -0.4, "reward/accuracy": 0.6, "validation/reward": 2.0}
        for step in range(1, 30)
    ]
    [stage] = stage_charts([Stage("reasoning", rows)])
    for svg in (str(stage["rewards"]), validation_chart(rows)):
        [height] = re.findall(r'viewBox="0 0 \S+ ([\d.]+)"', svg)
        found = heights(svg)
        assert len(found) > 20
        assert all(0 <= y <= float(height) for y in found)
