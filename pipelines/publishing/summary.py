"""The page of Markdown about a run that has ended."""

from collections.abc import Sequence

from pipelines.gate import Scores, Verdict
from pipelines.targets import Failure, Progress


def summary(
    name: str,
    place: str,
    progress: Progress,
    failures: Sequence[Failure],
    scores: Scores,
    verdicts: Sequence[Verdict],
    seconds: float,
) -> str:
    """A page of Markdown about a run that has ended after `seconds`, with the scores of its evaluations, by step id."""
    held = "" if all(verdict.passed for verdict in verdicts) else ", held back by a gate"
    lines = [f"## {name}: {progress.state}{held}", "", f"{place}, waited for {seconds / 60:.0f} minutes", ""]
    if progress.message:
        lines += [f"> {progress.message}", ""]
    for failure in failures:
        code = "" if failure.exit_code is None else f" (exit code {failure.exit_code})"
        lines += [f"**{failure.step}** failed{code}: {failure.error}", "", f"    {failure.command}", ""]
    if verdicts:
        lines += ["| gate | score | bound | |", "|---|---|---|---|"]
        lines += [
            f"| `{v.gate}` | {v.score:.4g} | {v.bound:.4g} | {'passed' if v.passed else '**failed**'} |"
            for v in verdicts
        ]
        lines += [""]
        lines += [f"`{v.gate}`: {v.note}\n" for v in verdicts if v.note]
    if scores:
        names = sorted({metric for metrics in scores.values() for metric in metrics} - {"started", "seconds"})
        lines += [f"| | {' | '.join(scores)} |", "|---" * (len(scores) + 1) + "|"]
        for metric in names:
            values = (f"{metrics[metric]:.4g}" if metric in metrics else "" for metrics in scores.values())
            lines += [f"| {metric} | {' | '.join(values)} |"]
        lines += [""]
    if progress.steps:
        rows = [f"| {step} | {state} |" for step, state in progress.steps.items()]
        lines += ["| step | state |", "|---|---|", *rows, ""]
    return "\n".join(lines) + "\n"
