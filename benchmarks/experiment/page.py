"""The results as docs/claim.md shows them: tables between two marks, and a figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.experiment.arms import Arm
from benchmarks.experiment.statistics import Difference, difference

BEGIN, END = "<!-- {}: begin (written by benchmarks/claim.py --report) -->", "<!-- {}: end -->"
MEASURES = {  # as in an evaluation's scores -> title
    "accuracy": "accuracy",
    "oracle": "oracle accuracy",
    "described": "objects described",
    "keyword": "keywords",
    "clip": "CLIP",
    "stated_right": "stated facts right",
}
PAIRS = (  # (first, second): the difference is second minus first
    ("reasoning_steps", "two_stages"),
    ("reasoning_answers", "two_stages"),
    ("mixed", "two_stages"),
    ("two_stages", "two_stages_seeing"),
    ("two_stages", "two_stages_sufficiency"),
    ("warm_up", "stage_1"),
    ("warm_up", "two_stages"),
    ("warm_up", "reasoning_steps"),
)
Results = Mapping[int, Mapping[str, Mapping[str, Any]]]  # seed -> arm -> result


def values_of(results: Results, arm: str, measure: str) -> dict[int, float]:
    """The score of an arm by seed."""
    return {seed: found[arm]["scores"][measure] for seed, found in results.items() if arm in found}


def paired(results: Results, first: str, second: str, measure: str) -> Difference | None:
    """The difference of two arms over the seeds that both have; None without any."""
    one, other = values_of(results, first, measure), values_of(results, second, measure)
    seeds = [seed for seed in one if seed in other]
    return difference([one[seed] for seed in seeds], [other[seed] for seed in seeds]) if seeds else None


def tables(results: Results, arms: Sequence[Arm]) -> str:
    """The generated part of the page."""
    titles = {arm.name: arm.title for arm in arms}
    counts = {arm.name: len(values_of(results, arm.name, "accuracy")) for arm in arms}
    done = {name: count for name, count in counts.items() if count}
    if not done:
        return "No results yet."
    lines = ["Means over the seeds of each arm:", ""]
    lines += [f"| arm | seeds | {' | '.join(MEASURES.values())} |", f"|---|---|{'---|' * len(MEASURES)}"]
    for name, count in done.items():
        cells = [f"{fmean(values_of(results, name, measure).values()):.3f}" for measure in MEASURES]
        lines.append(f"| {titles[name]} | {count} | {' | '.join(cells)} |")
    hops = sorted({hop for found in results.values() for result in found.values() for hop in result["by_hops"]})
    lines += ["", "Accuracy by the number of facts that a question needs:", ""]
    lines += [f"| arm | {' | '.join(hops)} |", f"|---|{'---|' * len(hops)}"]
    for name in done:
        of_arm = [found[name]["by_hops"] for found in results.values() if name in found]
        lines.append(f"| {titles[name]} | {' | '.join(f'{fmean(r[hop] for r in of_arm):.3f}' for hop in hops)} |")
    lines += [
        "",
        "Differences, paired by seed, with 95 % bootstrap intervals; bold where the interval leaves out 0:",
        "",
    ]
    lines += [f"| difference | seeds | {' | '.join(MEASURES.values())} |", f"|---|---|{'---|' * len(MEASURES)}"]
    for first, second in PAIRS:
        found = [paired(results, first, second, measure) for measure in MEASURES] if first in done else [None]
        if found[0] is not None:
            cells = [_cell(made) for made in found]
            lines.append(f"| {titles[second]} − {titles[first]} | {found[0].pairs} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(made: Difference | None) -> str:
    if made is None:
        return "-"
    text = f"{made.mean:+.3f} [{made.low:+.3f}, {made.high:+.3f}]"
    return f"**{text}**" if made.is_clear else text


def write(page: Path, name: str, content: str) -> None:
    """Replace what stands between the marks of this name on a page.

    Raises:
        ValueError: the page has no such marks.
    """
    first, last = BEGIN.format(name), END.format(name)
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"{page}: no line {first} with {last} after it: add both")
    page.write_text(f"{before}{first}\n\n{content}\n\n{last}{after}", encoding="utf-8")
