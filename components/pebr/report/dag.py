"""The diagram of the DAG: every step with its time. The longer a step took, the stronger its colour.

The positions are chosen by hand: the model moves from left to right along one row, data enter from above and below, and
each evaluation stands under its model. Every edge is an edge of the pipeline; the edges in `NOT_DRAWN` are omitted.
"""

from collections.abc import Mapping
from html import escape
from typing import NamedTuple

from pebr.report.charts import svg
from pebr.telemetry.logs import duration

COLUMN, ROW = 106.0, 60.0  # distance between two steps
BOX_WIDTH, BOX_HEIGHT = 94.0, 42.0
MARGIN = 4.0
BEND = 10.0  # radius of an edge's corner


class Spot(NamedTuple):
    """The position and the name of a step in the diagram."""

    column: float
    row: float
    name: str


SPOTS = {
    "sft_data": Spot(0, 0, "SFT data"),
    "base_model": Spot(0, 1, "base model"),
    "rl_data": Spot(0, 2, "RL data"),
    "clip_model": Spot(0, 4, "CLIP model"),
    "benchmarks": Spot(0, 5, "benchmarks"),
    "sft_filter": Spot(1, 0, "filter"),
    "rl_filter": Spot(1, 2, "filter"),
    "sft": Spot(2, 1, "SFT warm-up"),
    "rollout": Spot(3, 2, "rollout"),
    "split": Spot(4, 2, "split"),
    "perception": Spot(5, 1, "1 perception"),
    "perception_merge": Spot(6, 1, "merge"),
    "remeasured_rollout": Spot(6, 0, "rollout"),
    "remeasured_split": Spot(7, 0, "split"),
    "reasoning": Spot(7, 1, "2 reasoning"),
    "reasoning_merge": Spot(8, 1, "merge"),
    "ablation": Spot(7, 3, "ablation"),
    "ablation_merge": Spot(9, 3, "merge"),
    "warmup_evaluation": Spot(2, 6, "evaluate"),
    "perception_evaluation": Spot(6, 6, "evaluate"),
    "reasoning_evaluation": Spot(8, 6, "evaluate"),
    "ablation_evaluation": Spot(9, 6, "evaluate"),
    "report": Spot(9, 7, "this report"),
}
_READS = {  # step -> the steps that it reads from, without the edges of EVALUATIONS below
    "sft_filter": ["sft_data"],
    "sft": ["sft_filter", "base_model"],
    "rl_filter": ["rl_data"],
    "rollout": ["rl_filter", "sft"],
    "split": ["rollout"],
    "perception": ["sft", "split", "clip_model"],
    "perception_merge": ["perception"],
    "remeasured_rollout": ["perception_merge"],
    "remeasured_split": ["remeasured_rollout"],
    "reasoning": ["perception_merge", "split", "remeasured_split"],
    "reasoning_merge": ["reasoning"],
    "ablation": ["sft", "split"],
    "ablation_merge": ["ablation"],
    "warmup_evaluation": ["sft"],
    "perception_evaluation": ["perception_merge"],
    "reasoning_evaluation": ["reasoning_merge"],
    "ablation_evaluation": ["ablation_merge"],
}
EVALUATIONS = [step for step in _READS if step.endswith("_evaluation")]
EDGES = [
    *((start, end) for end, starts in _READS.items() for start in starts),
    *(("benchmarks", evaluation) for evaluation in EVALUATIONS),
    *(("clip_model", evaluation) for evaluation in EVALUATIONS),
    *((evaluation, "report") for evaluation in EVALUATIONS),
]
NOT_DRAWN = [  # also not drawn: the metrics and histories of every step, which the report reads
    ("sft", "perception_merge"),  # a merge also reads the model that its training started from
    ("perception_merge", "reasoning_merge"),
    ("sft", "ablation_merge"),
    ("rl_filter", "remeasured_rollout"),
    ("clip_model", "reasoning"),  # read only if the CLIP reward has a weight
    ("clip_model", "ablation"),
    *(("benchmarks", stage) for stage in ("perception", "reasoning", "ablation")),  # read only with validate_on
]
INSTEAD = {("split", "reasoning"): "remeasured_split"}  # edge -> if this step ran, the edge does not exist
DOWN_FIRST = {("sft", "ablation"), *((evaluation, "report") for evaluation in EVALUATIONS)}
ARRIVES = {"benchmarks": -18.0, "clip_model": 18.0}  # offset from the middle of a box, where the model's edge arrives


def draw(seconds: Mapping[str, float]) -> str:
    """Draw the DAG as SVG: the steps that ran, with their times, and the report itself."""
    shown = {key: spot for key, spot in SPOTS.items() if key in seconds or key == "report"}
    used = sorted({spot.row for spot in shown.values()})
    shown = {key: spot._replace(row=used.index(spot.row)) for key, spot in shown.items()}
    longest = max(seconds.values(), default=0.0) or 1.0
    edges = [(a, b) for a, b in EDGES if a in shown and b in shown and INSTEAD.get((a, b)) not in shown]
    parts = [_edge(a, b, shown[a], shown[b]) for a, b in edges]
    for key, spot in shown.items():
        parts.append(_box(spot, duration(seconds[key]) if key in seconds else "", seconds.get(key, 0.0) / longest))
    width = 2 * MARGIN + 9 * COLUMN + BOX_WIDTH
    height = 2 * MARGIN + (len(used) - 1) * ROW + BOX_HEIGHT
    return svg(parts, width, height, "The steps of the run and their times", "chart dag")


def _corner(spot: Spot) -> tuple[float, float]:
    return MARGIN + spot.column * COLUMN, MARGIN + spot.row * ROW


def _box(spot: Spot, time: str, heat: float) -> str:
    x, y = _corner(spot)
    middle, base = x + BOX_WIDTH / 2, y + (18 if time else 25)
    frame = f'x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="7"'
    return (
        f'<rect class="box" {frame}/><rect class="heat" {frame} fill-opacity="{0.9 * heat**0.5:.3f}"/>'
        f'<text class="name" x="{middle}" y="{base}" text-anchor="middle">{escape(spot.name)}</text>'
        f'<text class="tick" x="{middle}" y="{y + 33}" text-anchor="middle">{escape(time)}</text>'
    )


def _edge(start_key: str, end_key: str, start: Spot, end: Spot) -> str:
    """An edge from one step to another: along a row, along a column, or with one corner."""
    (x0, y0), (x1, y1) = _corner(start), _corner(end)
    if start.column == end.column:
        x, top, bottom = x0 + BOX_WIDTH / 2, min(y0, y1), max(y0, y1)
        return f'<path class="edge" d="M{x} {top + BOX_HEIGHT}V{bottom}"/>'
    if (start_key, end_key) in DOWN_FIRST:
        x, y = x0 + BOX_WIDTH / 2, y1 + BOX_HEIGHT / 2
        return f'<path class="edge" d="M{x} {y0 + BOX_HEIGHT}V{y - BEND}Q{x} {y} {x + BEND} {y}H{x1}"/>'
    x0, y0 = x0 + BOX_WIDTH, y0 + BOX_HEIGHT / 2
    if start.row == end.row:
        return f'<path class="edge" d="M{x0} {y0}H{x1}"/>'
    x = x1 + BOX_WIDTH / 2 + ARRIVES.get(start_key, 0.0)
    y, bend = (y1, BEND) if end.row > start.row else (y1 + BOX_HEIGHT, -BEND)
    return f'<path class="edge" d="M{x0} {y0}H{x - BEND}Q{x} {y0} {x} {y0 + bend}V{y}"/>'
