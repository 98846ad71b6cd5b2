"""What each method of docs/methods.md costs: seconds per training step beside plain GRPO, in alternation.

    make bench NAME=method_costs

Every arm is the whole stage with one change of the settings: sampling, rewards, the reference pass, one update. In each
round every arm makes one training step. The learning rate is too small to change a weight, so all arms ask the same
questions, sample the same answers and train on the same tokens, except those that choose other questions. For half of
the questions all rewards are equal; dynamic sampling has these to replace.

Seconds are processor seconds of the training process with one thread: on a shared machine they do not depend on other
processes. A cost is the median over the rounds of an arm's seconds divided by those of plain GRPO in the same round;
the first round warms up. `training` is the same for the updates alone, without sampling, whose share of a step is
another one on a GPU.

A random model writes no descriptions, so self-sufficiency is measured with a model that a warm-up has taught to, beside
plain GRPO of that model.

The ratio is plain GRPO's seconds over those of the slowest method that needs no further pass. The goal is 0.9: such
methods are free.
"""

import dataclasses
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch

from benchmarks.result import finish
from pebr.data.records import SPLIT_SCHEMA
from pebr.data.shards import ShardedDataset, ShardWriter
from pebr.grpo.settings import Settings
from pebr.grpo.trainer import Trainer
from pebr.grpo.work import ready
from pebr.step.launch import join
from pebr.toy.formats import png
from pebr.toy.vlm import build_model
from pebr.toy.world import questions
from tests.grpo.describing import warm_up, write_questions

GOAL = 0.9
ROUNDS = 4  # the first one is not counted
QUESTIONS, ANSWERS = 4, 8  # per training step, per question


PLAIN, DESCRIBING = "plain GRPO", "plain GRPO of a model that describes"


class Method(NamedTuple):
    """A method: its settings, whether it needs a further pass of the model or further samples, and its baseline."""

    settings: Mapping[str, Any]
    passes: bool = False
    beside: str = PLAIN


SUFFICIENT = {"sufficiency_weight": 0.5, "sufficiency_tokens": 48}
METHODS = {
    PLAIN: Method({}),
    "GSPO": Method({"ratio": "sequence", "clip_low": 3e-4, "clip_high": 4e-4}),
    "GSPO-token": Method({"ratio": "sequence_token", "clip_low": 3e-4, "clip_high": 4e-4}),
    "CISPO": Method({"surrogate": "cispo", "clip_low": 1.0, "clip_high": 4.0}),
    "entropy bonus": Method({"entropy_weight": 0.001}),
    "off-policy mask": Method({"off_policy_limit": 0.1}),
    "sampler ratio, truncated": Method({"sampler_correction": "truncate"}),
    "sampler ratio, masked": Method({"sampler_correction": "mask"}),
    "overlong penalty": Method({"overlong_weight": 1.0, "overlong_tokens": 16}),
    "questions by variance": Method({"variance_share": 0.5}),
    "dynamic sampling, 1 round": Method({"replacement_rounds": 1}, passes=True),
    "PAPO": Method({"seeing_weight": 0.02}, passes=True),
    "PGPO": Method({"credit": "pgpo", "hidden_share": 1.0}, passes=True),
    "VPPO": Method({"credit": "vppo", "hidden_share": 0.5}, passes=True),
    "noisy views": Method({"noise": 500}, passes=True),
    DESCRIBING: Method({}, True, DESCRIBING),
    "self-sufficiency": Method(SUFFICIENT, True, DESCRIBING),
    "self-sufficiency, separate advantages": Method(SUFFICIENT | {"separate_advantages": True}, True, DESCRIBING),
}


class Taken(NamedTuple):
    """Processor seconds of a training step: all of it, and its updates."""

    step: float
    training: float


def main() -> None:
    """Measure and report."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        plain = settings_of(Path(folder))
        baselines = {PLAIN: plain, DESCRIBING: describing(plain, Path(folder) / "describing")}
        arms = {}
        for name, method in METHODS.items():
            outputs: dict[str, Any] = {key: f"{folder}/{name}/{key}" for key in ("output", "history", "rollouts")}
            changed = dataclasses.replace(baselines[method.beside], **outputs, **method.settings)
            arms[name] = stack.enter_context(ready(changed, ShardedDataset(changed.dataset), join())).trainer
            arms[name].resume()
        rounds = [{name: take(trainer, number) for name, trainer in arms.items()} for number in range(ROUNDS)][1:]
    found = {name: summary(name, rounds) for name in METHODS}
    slowest = max(found[name]["step"] for name, method in METHODS.items() if not method.passes)
    shape = {
        "questions": QUESTIONS,
        "answers": ANSWERS,
        "answer_tokens": plain.max_response_tokens,
        "rounds": ROUNDS - 1,
    }
    for name, numbers in found.items():
        print(f"{name:38} {numbers}")
    finish("method_costs", 1 / slowest, GOAL, {"methods": found, "shape": shape})


def take(trainer: Trainer, step: int) -> Taken:
    """Make one training step."""
    updates = trainer.updater.step
    seconds = []

    def timed(*experiences: Any) -> Any:
        started = time.process_time()
        reports = updates(*experiences)
        seconds.append(time.process_time() - started)
        return reports

    setattr(trainer.updater, "step", timed)  # noqa: B010 - a method is replaced
    started = time.process_time()
    trainer.step(step)
    taken = time.process_time() - started
    setattr(trainer.updater, "step", updates)  # noqa: B010
    return Taken(taken, sum(seconds))


def summary(name: str, rounds: list[dict[str, Taken]]) -> dict[str, float]:
    """A method's seconds per step, and its seconds relative to plain GRPO, of the whole step and of the updates."""
    found = {"seconds": round(median(taken[name].step for taken in rounds), 3)}
    for part in Taken._fields:
        shares = [getattr(taken[name], part) / getattr(taken[METHODS[name].beside], part) for taken in rounds]
        found[part] = round(median(shares), 3)
    return found


def settings_of(folder: Path) -> Settings:
    """Plain GRPO with a KL term, on a tiny model and 24 questions."""
    with ShardWriter(folder / "questions", SPLIT_SCHEMA, "split") as writer:
        for question in questions(0, 24, "rl"):
            row: dict[str, Any] = {"qid": question.qid, "problem": question.problem, "answer": question.answer}
            images = [{"bytes": png(question.image.resize((224, 224))), "path": None}]
            row |= {"key_words": list(question.key_words), "images": images, "extra": ""}
            writer.write(row | {"difficulty": "medium", "correct": 1 + int(question.qid[-1]) % 4, "samples": 8})
    return Settings(
        model=str(build_model(folder / "model", 0)),
        dataset=str(folder / "questions"),
        output="",
        history="",
        rollouts="",
        reward="tests.grpo.rewards:vowels_of_some=1",
        accuracy_weight=0.0,
        format_weight=0.0,
        questions_per_step=QUESTIONS,
        questions_per_update=QUESTIONS,
        samples=ANSWERS,
        epochs=ROUNDS,
        max_steps=ROUNDS + 1,
        max_response_tokens=48,
        learning_rate=1e-15,
        sampling="transformers",
        dtype="fp32",
        zero_stage=0,
        processes=1,
        gradient_checkpointing="off",
        save_every=0,
        futile_steps=0,
        drift_limit=0.0,
    )


def describing(plain: Settings, folder: Path) -> Settings:
    """The same on a model that describes its images, and their questions."""
    base = build_model(folder / "base", 0, "qwen2_5_vl", width=64, layers=2, vision_width=64)
    write_questions(folder / "questions", 24)
    return dataclasses.replace(plain, model=str(warm_up(base, folder)), dataset=str(folder / "questions"))


if __name__ == "__main__":
    main()
