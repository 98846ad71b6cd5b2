"""The figures of docs/claim.md: the scores of every seed and the rewards during training, as SVG without a library."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from statistics import fmean
from typing import Any

from benchmarks.experiment.arms import Arm, Start
from benchmarks.experiment.page import MEASURES, Results, values_of

COLOURS = ("#777777", "#b58900", "#1f5fbf", "#c0392b", "#e08283", "#2e8b57", "#7b3fa0", "#008b8b")
SHOWN = ("accuracy", "oracle", "described")
CURVES = {"reward/accuracy": "accuracy of the sampled answers", "reward/keyword": "keywords in their descriptions"}
WIDTH, ROW, PANEL, MARGIN = 960, 26, 220, 310
WINDOW = 5  # training steps per running mean


def name_of(start: Start) -> str:
    """The name of the file with the figure of a start."""
    return f"claim-{start.name.replace('_', '-')}.svg"


def draw(results: Results, arms: Sequence[Arm]) -> str:
    """The figure as SVG."""
    shown = [arm for arm in arms if values_of(results, arm.name, "accuracy")]
    colours = {arm.name: COLOURS[place % len(COLOURS)] for place, arm in enumerate(arms)}
    height = 46 + ROW * len(shown) + 60 + PANEL
    parts = [*_dots(results, shown, colours), *_curves(results, shown, colours, 46 + ROW * len(shown) + 40)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif"'
        f' font-size="12">\n<rect width="{WIDTH}" height="{height}" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _text(x: float, y: float, text: str, anchor: str = "start", colour: str = "#222222") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _dots(results: Results, arms: Sequence[Arm], colours: Mapping[str, str]) -> Iterator[str]:
    """A row per arm: a dot per seed, and a line at their mean."""
    each = (WIDTH - MARGIN) / len(SHOWN)
    for column, measure in enumerate(SHOWN):
        by_arm = {arm.name: list(values_of(results, arm.name, measure).values()) for arm in arms}
        every = [value for values in by_arm.values() for value in values] or [0.0, 1.0]
        low, high = min(every), max(every)
        left, wide = MARGIN + column * each + 10, each - 40
        yield _text(left, 16, MEASURES[measure])
        yield _text(left, 34, f"{low:.2f}", colour="#777777") + _text(left + wide, 34, f"{high:.2f}", "end", "#777777")
        for row, arm in enumerate(arms):
            y = 46 + ROW * row + ROW / 2
            if not column:
                yield _text(4, y + 4, arm.title, colour=colours[arm.name])
            places = [left + wide * (value - low) / ((high - low) or 1.0) for value in by_arm[arm.name]]
            yield f'<line x1="{left:.1f}" x2="{left + wide:.1f}" y1="{y}" y2="{y}" stroke="#e5e5e5"/>'
            for x in places:
                yield f'<circle cx="{x:.1f}" cy="{y}" r="3" fill="{colours[arm.name]}" fill-opacity="0.45"/>'
            if places:
                mean = fmean(places)
                yield f'<path d="M{mean:.1f} {y - 9}V{y + 9}" stroke="{colours[arm.name]}" stroke-width="3"/>'


def _curves(results: Results, arms: Sequence[Arm], colours: Mapping[str, str], top: float) -> Iterator[str]:
    """Rewards by training step, means over the seeds; the stages of an arm one after the other."""
    each = WIDTH / len(CURVES)
    for column, (name, title) in enumerate(CURVES.items()):
        lines = {arm.name: line for arm in arms if len(line := _line(results, arm, name)) > 1}
        every = [value for line in lines.values() for _, value in line] or [0.0, 1.0]
        steps = max((step for line in lines.values() for step, _ in line), default=1)
        low, high = min(every), max(every)
        left, wide, tall = column * each + 44, each - 64, PANEL - 40
        yield _text(left, top, f"{title}, by training step")
        yield _text(left - 6, top + 20, f"{high:.2f}", "end") + _text(left - 6, top + 16 + tall, f"{low:.2f}", "end")
        yield _text(left + wide, top + 32 + tall, str(steps), "end")
        yield f'<rect x="{left}" y="{top + 12}" width="{wide}" height="{tall}" fill="none" stroke="#cccccc"/>'
        for arm_name, line in lines.items():
            points = " ".join(
                f"{left + wide * step / steps:.1f},{top + 12 + tall * (high - value) / ((high - low) or 1.0):.1f}"
                for step, value in line
            )
            yield f'<polyline points="{points}" fill="none" stroke="{colours[arm_name]}" stroke-width="1.6"/>'


def _line(results: Results, arm: Arm, name: str) -> list[tuple[int, float]]:
    """The running mean of a reward: (training step, mean over the seeds). Stages without the reward leave a gap."""
    by_step: dict[int, list[float]] = {}
    for found in results.values():
        begun = 0
        for stage in found.get(arm.name, {}).get("curves", []):
            for place, value in enumerate(stage.get(name, [])):
                by_step.setdefault(begun + place + 1, []).extend([] if value is None else [value])
            begun += _length(stage)
    means = [(step, fmean(values)) for step, values in sorted(by_step.items()) if values]
    windows = [means[max(0, place - WINDOW + 1) : place + 1] for place in range(len(means))]
    return [(window[-1][0], fmean(value for _, value in window)) for window in windows]


def _length(stage: Mapping[str, Sequence[Any]]) -> int:
    return max(map(len, stage.values()), default=0)
