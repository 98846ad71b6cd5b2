"""Charts as inline SVG: lines, bars, dots. No library, no script. Colours are CSS classes, so they follow the theme.

Instead of a legend, each line has a label at its end, in its colour. All sizes are in SVG units (CSS pixels at full
width). `label` is always the text for screen readers.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

LABEL_HEIGHT = 14.0
LABEL_WIDTH = 7.6  # of a character
Format = Callable[[float], str]


@dataclass(frozen=True)
class Series:
    """One line of a chart."""

    name: str  # its label
    points: Sequence[tuple[float, float]]  # (x, y) in the data's units, x ascending
    style: str  # CSS class of its colour
    smooth: bool = True  # draw its running mean, if the chart has one


@dataclass(frozen=True)
class Frame:
    """The plot area of a chart: the data ranges and the box that they fill."""

    x: tuple[float, float]
    y: tuple[float, float]
    left: float
    top: float
    width: float
    height: float

    def place(self, x: float, y: float) -> tuple[float, float]:
        """The SVG coordinates of a data point."""
        across = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1.0)
        up = (y - self.y[0]) / ((self.y[1] - self.y[0]) or 1.0)
        return self.left + across * self.width, self.top + (1.0 - up) * self.height


def line_chart(
    series: Sequence[Series],
    label: str,
    *,
    y_range: tuple[float, float] | None = None,  # None: the range of the data
    window: int = 1,  # points per running mean
    number: Format = "{:.2f}".format,
    width: float = 500.0,
    height: float = 210.0,
) -> str:
    """Lines over training steps. If `window` is above 1, each line is drawn faint and its running mean strong."""
    drawn = [s for s in series if s.points]
    if not drawn:
        return ""
    xs = [x for s in drawn for x, _ in s.points]
    low, high = y_range or _range([y for s in drawn for _, y in s.points])
    means = [running_mean([y for _, y in line.points], window if line.smooth else 1) for line in drawn]
    texts = [f"{line.name} {number(values[-1])}" for line, values in zip(drawn, means, strict=True)]
    room = max(96.0, 9.0 + LABEL_WIDTH * max(map(len, texts)))  # for the labels
    frame = Frame((min(xs), max(xs)), (low, high), 44.0, 10.0, width - 44.0 - room, height - 10.0 - 26.0)
    parts = [_grid(frame, ticks(low, high), number), _steps(frame)]
    ends = []
    for line, values in zip(drawn, means, strict=True):
        smooth = [(x, mean) for (x, _), mean in zip(line.points, values, strict=True)]
        if window > 1 and line.smooth:
            parts.append(f'<path class="raw {line.style}" d="{_path(frame, line.points)}"/>')
        parts.append(f'<path class="line {line.style}" d="{_path(frame, smooth)}"/>')
        end_x, end_y = frame.place(*smooth[-1])
        parts.append(f'<circle class="dot {line.style}" cx="{end_x:.1f}" cy="{end_y:.1f}" r="3"/>')
        ends.append(end_y)
    heights = spread(ends, LABEL_HEIGHT, frame.top + frame.height)
    for y, text, line in zip(heights, texts, drawn, strict=True):
        parts.append(_text(frame.left + frame.width + 9, y + 4, text, f"label {line.style}"))
    return svg(parts, width, height, label)


def slope_chart(names: Sequence[str], values: Sequence[float | None], label: str, number: Format) -> str:
    """One measure of several models from left to right, each point with its value. A value is None if there is none."""
    width, height = 280.0, 142.0
    known = [v for v in values if v is not None]
    if not known:
        return ""
    spare = max(max(known) - min(known), 0.02) * 0.25
    frame = Frame((0, len(names) - 1), (min(known) - spare, max(known) + spare), 40.0, 26.0, width - 80.0, 66.0)
    points = [(float(i), v) for i, v in enumerate(values) if v is not None]
    stages, others = points[:3], points[3:]
    parts = [f'<path class="line main" d="{_path(frame, stages)}"/>']
    for i, (x, value) in enumerate([*stages, *others]):
        cx, cy = frame.place(x, value)
        last = i == len(stages) - 1
        style = "main" if i < len(stages) else "s4"
        parts.append(f'<circle class="dot {style}" cx="{cx:.1f}" cy="{cy:.1f}" r="{5 if last else 4}"/>')
        rises = i + 1 < len(stages) and stages[i + 1][1] > value  # then the value stands below the line
        parts.append(
            _text(cx, cy + (19 if rises else -11), number(value), "value strong" if last else "value", "middle")
        )
        parts.append(_text(cx, height - 8, names[int(x)], "tick", "middle"))
    return svg(parts, width, height, label)


def histogram(counts: Sequence[int], styles: Sequence[str], label: str) -> str:
    """Bars with their counts, one bar per number from 0 up. `styles` has the CSS class of each bar."""
    width, height = 500.0, 200.0
    top, bottom, slot, highest = 20.0, height - 26.0, width / len(counts), max(*counts, 1)
    parts = [f'<line class="axis" x1="0" x2="{width:.0f}" y1="{bottom}" y2="{bottom}"/>']
    for i, (count, style) in enumerate(zip(counts, styles, strict=True)):
        tall = (bottom - top) * count / highest
        x = i * slot
        parts.append(
            f'<rect class="bar {style}" x="{x + slot * 0.1:.1f}" y="{bottom - tall:.1f}" rx="2"'
            f' width="{slot * 0.8:.1f}" height="{tall:.1f}"/>'
        )
        parts.append(_text(x + slot / 2, bottom - tall - 6, str(count), "value", "middle"))
        parts.append(_text(x + slot / 2, height - 8, str(i), "tick", "middle"))
    return svg(parts, width, height, label)


def dots(values: Sequence[float], styles: Sequence[str], label: str) -> str:
    """Shares on a line from 0 to 1, with a bar from the first to the third: from the warm-up to stage 2."""
    width, height, margin = 220.0, 22.0, 8.0
    xs = [margin + value * (width - 2 * margin) for value in values]
    parts = [f'<line class="rail" x1="{margin}" x2="{width - margin}" y1="11" y2="11"/>']
    for share in (0.0, 0.5, 1.0):
        x = margin + share * (width - 2 * margin)
        parts.append(f'<line class="rail" x1="{x:.1f}" x2="{x:.1f}" y1="7" y2="15"/>')
    parts.append(f'<line class="span" x1="{xs[0]:.1f}" x2="{xs[2]:.1f}" y1="11" y2="11"/>')
    for x, style in zip(xs, styles, strict=True):
        parts.append(f'<circle class="dot {style}" cx="{x:.1f}" cy="11" r="4.5"/>')
    return svg(parts, width, height, label, "row")


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """About `count` round numbers within a range.

    >>> ticks(0.0, 1.0)
    [0.0, 0.25, 0.5, 0.75, 1.0]
    >>> ticks(3.0, 47.0)
    [10.0, 20.0, 30.0, 40.0]
    """
    raw = (high - low) / count or 1.0
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = min((m * magnitude for m in (1.0, 2.0, 2.5, 5.0, 10.0)), key=lambda s: abs(s - raw))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def running_mean(values: Sequence[float], window: int) -> list[float]:
    """The mean of each value and of the values before it, at most `window` values.

    >>> running_mean([1.0, 3.0, 5.0], 2)
    [1.0, 2.0, 4.0]
    """
    return [sum(values[max(0, i + 1 - window) : i + 1]) / min(i + 1, window) for i in range(len(values))]


def spread(heights: Sequence[float], gap: float, most: float = math.inf) -> list[float]:
    """Move heights apart, as little as possible, to at least `gap` between neighbours, all at most `most`.

    The order stays.

    >>> spread([10.0, 12.0, 40.0], 8.0), spread([38.0, 40.0], 8.0, 40.0)
    ([7.0, 15.0, 40.0], [32.0, 40.0])
    """
    groups = [[height, 1.0] for height in sorted(heights)]  # centre, members
    i = 0
    while i + 1 < len(groups):
        (centre, members), (next_centre, next_members) = groups[i], groups[i + 1]
        if next_centre - centre < gap * (members + next_members) / 2:
            joined = members + next_members
            groups[i : i + 2] = [[(centre * members + next_centre * next_members) / joined, joined]]
            i = max(i - 1, 0)
        else:
            i += 1
    placed = [centre + gap * (k - (members - 1) / 2) for centre, members in groups for k in range(int(members))]
    limit = most
    for k in reversed(range(len(placed))):
        placed[k] = min(placed[k], limit)
        limit = placed[k] - gap
    order = sorted(range(len(heights)), key=lambda k: heights[k])
    return [placed[order.index(k)] for k in range(len(heights))]


def svg(parts: Sequence[str], width: float, height: float, label: str, style: str = "chart") -> str:
    """Join the parts to an SVG element."""
    head = f'<svg class="{style}" viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(label)}">'
    return "\n".join([head, *parts, "</svg>"])


def _grid(frame: Frame, values: Sequence[float], number: Format) -> str:
    lines = []
    for value in values:
        _, y = frame.place(frame.x[0], value)
        right = frame.left + frame.width
        lines.append(f'<line class="grid" x1="{frame.left:.0f}" x2="{right:.0f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        lines.append(_text(frame.left - 8, y + 4, number(value), "tick", "end"))
    return "".join(lines)


def _steps(frame: Frame) -> str:
    """The numbers below the horizontal axis: training steps."""
    marks = [value for value in ticks(*frame.x, 5) if value == int(value)]
    texts = [_text(frame.place(m, 0)[0], frame.top + frame.height + 18, f"{m:.0f}", "tick", "middle") for m in marks]
    return "".join(texts) + _text(frame.left + frame.width + 22, frame.top + frame.height + 18, "step", "tick")


def _range(values: Sequence[float]) -> tuple[float, float]:
    """The range of an axis for these values: from 0 if that is near, with some space above."""
    low, high = min(values), max(values)
    spare = (high - low or abs(high) or 1.0) * 0.06
    return (0.0 if 0 <= low < 0.5 * high else low - spare), high + spare


def _path(frame: Frame, points: Sequence[tuple[float, float]]) -> str:
    placed = (frame.place(x, y) for x, y in points)
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in placed)


def _text(x: float, y: float, text: str, style: str, anchor: str = "start") -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
