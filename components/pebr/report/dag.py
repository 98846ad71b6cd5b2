"""The picture of the DAG: every step with its time; the longer it took, the stronger its colour.

The places of the steps are chosen by hand, for the eye: the model goes from left to right along one line, the data come
to it from above and below, and the evaluations hang under the models that they judge, on the line to the report.
"""

from collections.abc import Mapping
from html import escape
from typing import NamedTuple

from pebr.report.charts import svg

COLUMN, ROW = 106.0, 66.0  # distance of two steps
BOX_WIDTH, BOX_HEIGHT = 94.0, 42.0
MARGIN = 4.0
BEND = 10.0  # radius of a line's corner


class Spot(NamedTuple):
    """A step in the picture: its place and its name."""

    column: float
    row: float
    name: str


SPOTS = {
    "sft_data": Spot(0, 0, "SFT data"),
    "base_model": Spot(0, 1, "base model"),
    "rl_data": Spot(0, 2, "RL data"),
    "clip_model": Spot(0, 3, "CLIP model"),
    "benchmarks": Spot(0, 4, "benchmarks"),
    "sft_filter": Spot(1, 0, "filter"),
    "rl_filter": Spot(1, 2, "filter"),
    "sft": Spot(2, 1, "SFT warm-up"),
    "rollout": Spot(3, 2, "rollout"),
    "split": Spot(4, 2, "split"),
    "perception": Spot(5, 1, "1 perception"),
    "perception_merge": Spot(6, 1, "merge"),
    "reasoning": Spot(7, 1, "2 reasoning"),
    "reasoning_merge": Spot(8, 1, "merge"),
    "ablation": Spot(7, 5, "ablation"),
    "ablation_merge": Spot(8, 5, "merge"),
    "warmup_evaluation": Spot(2, 4, "evaluate"),
    "perception_evaluation": Spot(6, 4, "evaluate"),
    "reasoning_evaluation": Spot(8, 4, "evaluate"),
    "ablation_evaluation": Spot(9, 5, "evaluate"),
    "report": Spot(9, 4, "this report"),
}
EDGES = [
    ("sft_data", "sft_filter"),
    ("sft_filter", "sft"),
    ("base_model", "sft"),
    ("rl_data", "rl_filter"),
    ("rl_filter", "rollout"),
    ("sft", "rollout"),
    ("rollout", "split"),
    ("sft", "perception"),
    ("split", "perception"),
    ("split", "reasoning"),
    ("clip_model", "perception"),
    ("perception", "perception_merge"),
    ("perception_merge", "reasoning"),
    ("reasoning", "reasoning_merge"),
    ("sft", "warmup_evaluation"),
    ("perception_merge", "perception_evaluation"),
    ("reasoning_merge", "reasoning_evaluation"),
    ("benchmarks", "warmup_evaluation"),
    ("warmup_evaluation", "perception_evaluation"),
    ("perception_evaluation", "reasoning_evaluation"),
    ("reasoning_evaluation", "report"),
    ("split", "ablation"),
    ("ablation", "ablation_merge"),
    ("ablation_merge", "ablation_evaluation"),
    ("ablation_evaluation", "report"),
]


def picture(seconds: Mapping[str, float]) -> str:
    """The DAG as SVG.

    Args:
        seconds: time of each step that ran; a step that is not in it is left out, the report apart.
    """
    shown = {key: spot for key, spot in SPOTS.items() if key in seconds or key == "report"}
    longest = max(seconds.values(), default=0.0) or 1.0
    parts = [_edge(shown[a], shown[b]) for a, b in EDGES if a in shown and b in shown]
    for key, spot in shown.items():
        parts.append(_box(spot, duration(seconds[key]) if key in seconds else "", seconds.get(key, 0.0) / longest))
    width = 2 * MARGIN + 9 * COLUMN + BOX_WIDTH
    height = 2 * MARGIN + max(spot.row for spot in shown.values()) * ROW + BOX_HEIGHT
    return svg(parts, width, height, "The steps of the run and their times", "chart dag")


def duration(seconds: float) -> str:
    """A time for people.

    >>> [duration(s) for s in (0.42, 38.2, 95, 7300)]
    ['0.4 s', '38 s', '1 min 35 s', '2 h 1 min']
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _corner(spot: Spot) -> tuple[float, float]:
    return MARGIN + spot.column * COLUMN, MARGIN + spot.row * ROW


def _box(spot: Spot, time: str, heat: float) -> str:
    x, y = _corner(spot)
    middle = x + BOX_WIDTH / 2
    frame = f'x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="7"'
    return (
        f'<rect class="box" {frame}/><rect class="heat" {frame} fill-opacity="{0.9 * heat**0.5:.3f}"/>'
        f'<text class="name" x="{middle}" y="{y + 18}" text-anchor="middle">{escape(spot.name)}</text>'
        f'<text class="tick" x="{middle}" y="{y + 33}" text-anchor="middle">{escape(time)}</text>'
    )


def _edge(start: Spot, end: Spot) -> str:
    """A line from one step to another: along a row, down a column, or along the row and then up or down."""
    (x0, y0), (x1, y1) = _corner(start), _corner(end)
    if start.column == end.column:
        x, top, bottom = x0 + BOX_WIDTH / 2, min(y0, y1), max(y0, y1)
        return f'<path class="edge" d="M{x} {top + BOX_HEIGHT}V{bottom}"/>'
    x0, y0 = x0 + BOX_WIDTH, y0 + BOX_HEIGHT / 2
    if start.row == end.row:
        return f'<path class="edge" d="M{x0} {y0}H{x1}"/>'
    # Lines that come from further off arrive beside the others.
    x = x1 + BOX_WIDTH / 2 + 14.0 * (abs(start.row - end.row) - 1)
    down = end.row > start.row
    y, bend = (y1, BEND) if down else (y1 + BOX_HEIGHT, -BEND)
    return f'<path class="edge" d="M{x0} {y0}H{x - BEND}Q{x} {y0} {x} {y0 + bend}V{y}"/>'
