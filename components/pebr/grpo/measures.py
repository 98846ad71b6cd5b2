"""Numbers that describe a training step and a run: sums over tokens, means over answers, rows of the history."""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from pebr.grpo.experience import Experience
from pebr.rewards.stages import BUILT_IN
from pebr.training.engine import UpdateReport

HistoryRow = dict[str, Any]  # numbers; None: no value, or one that is not finite; `resumed_from` is a text

NO_ENTROPY = 1e-4  # nats per token; below, a sample almost never differs from the likeliest answer


class Sums:
    """Sums over this rank's tokens of a training step, by name; the names are the same on all ranks."""

    def __init__(self, names: Iterable[str]) -> None:
        self.tokens = 0
        self.values: dict[str, list[Tensor]] = {name: [] for name in names}

    def add(self, tokens: int, sums: Mapping[str, Tensor]) -> None:
        """Add sums over so many tokens; each is a scalar, which stays on its device until `means`."""
        self.tokens += tokens
        for name, value in sums.items():
            self.values[name].append(value.detach())

    def means(self) -> dict[str, float]:
        """Means over the tokens of all ranks. All ranks must call this."""
        totals = [sum(map(float, values)) for values in self.values.values()]
        reduced = torch.tensor([self.tokens, *totals], dtype=torch.float64)
        dist.all_reduce(reduced)
        tokens, *sums = reduced.tolist()
        return {name: value / max(tokens, 1.0) for name, value in zip(self.values, sums, strict=True)}


REWARD_MEASURES = ("reward_at_0", "reward_at_1", "reward_spread")  # per component, with its name after a slash


def of_answers(experiences: Sequence[Experience]) -> dict[str, float]:
    """Means over a training step's answers and groups.

    For each component of the reward: its mean, its shares at 0 and at 1, and its spread, which is the mean over the
    groups of its unbiased standard deviation in the group. A component without spread teaches nothing. A penalty,
    which is at best 0, has no shares.
    """
    result = {"reward": fmean(reward for e in experiences for reward in e.rewards)}
    for name in experiences[0].components:
        groups = [e.components[name] for e in experiences]
        values = [value for group in groups for value in group]
        result[f"reward/{name}"] = fmean(values)
        if not (name in BUILT_IN and BUILT_IN[name].is_penalty):
            result[f"reward_at_0/{name}"] = fmean(value == 0.0 for value in values)
            result[f"reward_at_1/{name}"] = fmean(value >= 1.0 for value in values)
        result[f"reward_spread/{name}"] = fmean(stdev(group) if len(group) > 1 else 0.0 for group in groups)
    disturbed = [reward for e in experiences for reward, seen in zip(e.rewards, e.disturbed, strict=False) if seen]
    if disturbed:
        result["reward_noisy"] = fmean(disturbed)
    result["response_tokens"] = fmean(len(ids) for e in experiences for ids in e.token_ids)
    result["truncated_share"] = fmean(reason == "length" for e in experiences for reason in e.finish_reasons)
    result["zero_advantage_share"] = fmean(not e.teaches for e in experiences)
    return result


def of_updates(reports: Sequence[UpdateReport]) -> HistoryRow:
    """Means over a training step's updates, without refused ones."""
    applied = [report for report in reports if not report.refused]
    return {
        "loss": fmean(report.loss for report in applied) if applied else None,
        "grad_norm": fmean(report.grad_norm for report in applied) if applied else None,
        "learning_rate": reports[-1].learning_rate,
        "refused_updates": sum(report.refused for report in reports),
    }


def futility(row: HistoryRow) -> str:
    """Why a training step has taught nothing; "" if it has.

    >>> futility({"truncated_share": 0.0, "zero_advantage_share": 1.0, "entropy": 0.0, "reward": 0.5})
    'all advantages are zero: the answers to each question have equal rewards (mean 0.5)'
    """
    reasons = []
    if row["truncated_share"] == 1:
        reasons.append("all answers are cut off: raise --max-response-tokens, or warm the model up longer")
    if row["zero_advantage_share"] == 1:
        mean = row["reward"]
        reasons.append(f"all advantages are zero: the answers to each question have equal rewards (mean {mean:g})")
    elif row["entropy"] is not None and row["entropy"] < NO_ENTROPY:
        reasons.append(f"the entropy is {row['entropy']:.2g} nats per token: all answers to a question are the same")
    return "; ".join(reasons)


def futile_steps(rows: Sequence[HistoryRow]) -> int:
    """The number of last training steps that have taught nothing."""
    return next((done for done, row in enumerate(reversed(rows)) if not futility(row)), len(rows))


def futile_run(rows: Sequence[HistoryRow]) -> str:
    """What the last training steps, which have taught nothing, have in common."""
    step = rows[-1]["step"]
    return f"{futile_steps(rows)} training steps in a row, up to step {step}, taught nothing: {futility(rows[-1])}"


def exhausted(rows: Sequence[HistoryRow], limit: int) -> str:
    """Why there is nothing left to learn: the last `limit` steps have taught nothing, earlier ones have; else "".

    It is no such end if no step has taught anything, or if all answers are cut off: then something is wrong.
    """
    futile = futile_steps(rows)
    if not limit or futile < limit or futile == len(rows) or rows[-1]["truncated_share"] == 1:
        return ""
    return f"{futile_run(rows)} (--futile-steps {limit})"


def finite(row: Mapping[str, float | None]) -> HistoryRow:
    """Replace values that are not finite by None: JSON has none of them."""
    return {name: value if value is None or math.isfinite(value) else None for name, value in row.items()}


def seconds_per_step(rows: Sequence[HistoryRow]) -> float:
    """Mean seconds of these training steps; 0 for those of an earlier version, which have no such number."""
    return fmean(row.get("seconds_step") or 0.0 for row in rows)


def overview(rows: Sequence[HistoryRow]) -> dict[str, float]:
    """Summarise a run: means over its first and last tenth, and total seconds. Means without any value are left out."""
    tenth = max(len(rows) // 10, 1)
    of_rewards = [name for name in rows[-1] if name.startswith(REWARD_MEASURES) or name == "clip_cut_off_share"]
    parts = {"reward_first": [row["reward"] for row in rows[:tenth]]}
    for name in ("reward", "kl", "entropy", "response_tokens", "zero_advantage_share", *of_rewards):
        parts[name] = [row.get(name) for row in rows[-tenth:]]
    found = {name: [value for value in values if value is not None] for name, values in parts.items()}
    result = {name: fmean(values) for name, values in found.items() if values}
    for name in ("seconds_sampling", "seconds_rewards", "seconds_training"):
        result[name] = round(sum(row[name] or 0.0 for row in rows), 3)
    return result
