"""The forecast of a run as a table in plain text."""

from collections.abc import Sequence

from pebr.telemetry.logs import duration
from pipelines.estimate.amounts import unit
from pipelines.estimate.forecast import RUNS, SKIPPED, Forecast, critical_path

UNKNOWN = "?"
COLUMNS = ("step", "", "work", "time", "GPU hours", "read", "written", "earlier runs")


def table(forecasts: Sequence[Forecast], pasts: int) -> str:
    """The table, and what it adds up to.

    Args:
        forecasts: of the steps.
        pasts: number of earlier runs that are known.
    """
    shown = [made for made in forecasts if made.state != SKIPPED]
    rows = [COLUMNS, *(_row(made) for made in shown)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    runs = [made for made in shown if made.state == RUNS]
    lines += ["", f"{len(runs)} steps run, {len(shown) - len(runs)} are cached, {len(forecasts) - len(shown)} skipped"]
    if not pasts:
        return "\n".join([*lines, "no earlier run is known here: time, GPU hours and bytes cannot be estimated"])
    unknown = [made.step.id for made in runs if made.seconds is None]
    if unknown:
        lines.append(f"cannot be estimated, no earlier run tells: {', '.join(unknown)}")
    rest = " without these" * bool(unknown)
    seconds = sum(made.seconds or 0.0 for made in runs)
    path = critical_path(forecasts)
    lines.append(
        f"time{rest}: {duration(seconds)} of steps" + (f", {duration(path)} on the longest path" if path else "")
    )
    lines.append(f"GPU hours{rest}: {sum(made.gpu_hours or 0.0 for made in runs):.2f}")
    moved = [made for made in runs if made.read is not None and made.written is not None]
    few = f" of {len(moved)} of {len(runs)} steps" * (len(moved) < len(runs))
    lines.append(f"bytes moved{few}: {_bytes(sum((made.read or 0) + (made.written or 0) for made in moved))}")
    return "\n".join(lines)


def _row(made: Forecast) -> tuple[str, ...]:
    if made.state != RUNS:
        return (made.step.id, made.state, "", "", "", "", "", "")
    work = "" if made.amount is None or not unit(made.step.module) else _number(made.amount, unit(made.step.module))
    return (
        made.step.id,
        made.state,
        work,
        UNKNOWN if made.seconds is None else duration(made.seconds),
        UNKNOWN if made.gpu_hours is None else f"{made.gpu_hours:.2f}",
        _bytes(made.read),
        _bytes(made.written),
        str(made.runs),
    )


def _number(value: float, name: str) -> str:
    return _bytes(value) if name == "bytes" else f"{value:.0f} {name}"


def _bytes(value: float | None) -> str:
    """Bytes in decimal units.

    >>> _bytes(13165962), _bytes(512), _bytes(None)
    ('13.2 MB', '512 B', '?')
    """
    if value is None:
        return UNKNOWN
    size = float(value)
    for name in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or name == "TB":
            break
        size /= 1000
    return f"{size:.0f} {name}" if name == "B" else f"{size:.1f} {name}"
