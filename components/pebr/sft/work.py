"""The work of SFT: maximum likelihood of the assistant's tokens, over packed rows.

    loss = - sum over the answers' tokens of log p(token | question, images, tokens before) / tokens of the batch

The vision tower and its projector are frozen: they keep what pre-training has taught them, and a step costs less. A
restarted run resumes from its newest checkpoint and ends with the same bytes.
"""

import logging
import math
import shutil
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from pebr.data.shards import ShardedDataset
from pebr.errors import InputError
from pebr.sft.batches import Batches
from pebr.sft.settings import Settings
from pebr.step import launch
from pebr.step.identity import facts_of
from pebr.telemetry import metrics
from pebr.telemetry.history import History
from pebr.telemetry.logs import duration
from pebr.training import lora
from pebr.training.checkpoints import Checkpoints
from pebr.training.consolidate import consolidate
from pebr.training.efficiency import publish_efficiency
from pebr.training.engine import EngineSettings, TrainingEngine
from pebr.training.logprobs import PolicyModel
from pebr.training.randomness import seed_everything
from pebr.vlm.encoding import Encoder
from pebr.vlm.families import train_vision
from pebr.vlm.loading import DTYPES, check_model, load_model, load_processor
from pebr.vlm.prompt import PROMPT_FILE, read_template
from pebr.vlm.rows import Row, blank_row

log = logging.getLogger(__name__)

LOG_SECONDS = 5.0


def work(settings: Settings) -> Mapping[str, float]:
    """Train, write the Hugging Face directory, return the run's scalars.

    Raises:
        InputError: when model or dataset cannot be used, before a process is started.
        Preempted: stopped by SIGTERM, with a checkpoint to resume from.
    """
    dataset = ShardedDataset(settings.dataset)
    if dataset.manifest.kind != "sft":
        raise InputError(
            f"{settings.dataset}: rows of kind {dataset.manifest.kind}: give the output of filter --kind sft"
        )
    if not len(dataset):
        raise InputError(f"{settings.dataset}: no rows: its folder rejected/ has the reasons")
    check_model(settings.model)
    template = read_template(settings.prompt or settings.model)
    steps = math.ceil(len(dataset) / settings.batch_size) * settings.epochs
    steps = min(steps, settings.max_steps) if settings.max_steps else steps
    engine_settings = EngineSettings.of(settings, steps, "cosine", settings.warmup_ratio)
    launch.relaunch_with_processes("pebr.sft", settings.processes)
    return launch.as_rank(lambda place: _train(settings, engine_settings, dataset, template, place))


def _train(
    settings: Settings, engine_settings: EngineSettings, dataset: ShardedDataset, template: str, place: launch.Place
) -> Mapping[str, float]:
    """The run on one of its ranks."""
    seed_everything(settings.seed)
    encoder = Encoder(load_processor(settings.model, settings.min_pixels, settings.max_pixels), template)
    model = load_model(settings.model, DTYPES[settings.dtype])
    if settings.lora_rank:
        lora.attach(model, settings.lora_rank, settings.seed)
    train_vision(model, train=False)
    checkpoints = Checkpoints.of(settings, facts_of(settings) | {"prompt": template}, place)
    engine = TrainingEngine(PolicyModel(model), engine_settings, place, weights=model, checkpoints=checkpoints)
    batches = Batches(
        dataset,
        encoder,
        settings.batch_size,
        settings.max_tokens,
        settings.tokens_per_batch,
        settings.seed,
        place.rank,
        place.world_size,
    )
    log.info("%d rows, %d training steps of %d rows", len(dataset), engine_settings.total_steps, settings.batch_size)
    totals = _run(settings, engine, batches, blank_row(encoder).to(engine.device))
    engine.finish()
    if totals.rejected:
        log.warning("rows rejected: %s", totals.reasons())
    _write(engine, settings, template)
    return {
        "loss": totals.loss,
        "steps": engine.step,
        "rows": len(dataset),
        "set_aside": totals.rejected.total(),
        "tokens": totals.tokens,
        "refused_steps": engine.refused_steps,
        "parameters_trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
    }


@dataclass
class _Totals:
    """What a run has counted so far; saved with each checkpoint."""

    rejected: Counter[str]  # rows by reason
    tokens: int
    loss: float  # of the last update that was not refused
    history: list[dict[str, float | str | None]]

    def state(self) -> dict[str, object]:
        """The form that a checkpoint holds."""
        return {"set_aside": dict(self.rejected), "tokens": self.tokens, "loss": self.loss, "history": self.history}

    def reasons(self) -> str:
        """Counts and reasons of the rejected rows, the most frequent first."""
        return ", ".join(f"{count} {reason}" for reason, count in self.rejected.most_common())


def _run(settings: Settings, engine: TrainingEngine, batches: Batches, filler: Row) -> _Totals:
    """Train from the newest checkpoint to the last training step.

    Raises:
        InputError: when no row can be trained on.
    """
    saved = engine.resume() or {"set_aside": {}, "tokens": 0, "loss": 0.0, "history": []}
    resumed_from = {"resumed_from": saved["resumed_from"]} if "resumed_from" in saved else {}
    totals = _Totals(Counter(saved["set_aside"]), saved["tokens"], saved["loss"], saved["history"])
    history = History(settings.history, totals.history) if engine.rank == 0 else None
    steps = engine.settings.total_steps
    metrics.begin(steps)
    started = logged = time.monotonic()
    first = engine.step
    for batch in batches.run(engine.step, steps):
        began = time.monotonic()
        rows = [row.to(engine.device) for row in batch.rows]
        report = engine.update(rows, partial(_loss, answer_tokens=batch.answer_tokens), filler)
        publish_efficiency(engine.weights, batch.tokens, time.monotonic() - began, engine.place)
        if engine.step <= batches.steps_per_epoch:  # each epoch has all rows: count those of the first
            totals.rejected += batch.rejected
            unseen = len(batches.dataset) - (engine.step - 1) * settings.batch_size
            metrics.record_row(rows=min(settings.batch_size, unseen) - batch.rejected.total())
            for kind, count in batch.rejected.items():
                metrics.record_row(kind, count)
        totals.tokens += batch.tokens
        totals.loss = totals.loss if report.refused else report.loss
        if not totals.tokens and engine.step == min(batches.steps_per_epoch, steps):
            raise InputError(
                f"{settings.dataset}: no row can be trained on ({totals.reasons()}): raise --max-tokens"
                f" ({settings.max_tokens}) or filter the data again"
            )
        now = time.monotonic()
        totals.history.append(
            {
                "step": engine.step,
                "loss": None if report.refused else report.loss,
                "learning_rate": report.learning_rate,
                "grad_norm": None if report.refused else report.grad_norm,
                "tokens": batch.tokens,
                "seconds": round(now - began, 4),
                **resumed_from,
            }
        )
        resumed_from = {}
        if history is not None:
            history.append(totals.history[-1])
        if now - logged > LOG_SECONDS or engine.step == steps:
            logged = now
            left = (now - started) / (engine.step - first) * (steps - engine.step)
            log.info("step %d of %d: loss %.4f, %s left", engine.step, steps, report.loss, duration(left))
        due = engine.is_due(engine.step, settings.save_every, settings.save_minutes)
        engine.checkpoint(totals.state(), due=due or engine.step == steps)
    return totals


def _loss(module: nn.Module, row: Row, answer_tokens: int) -> Tensor:
    logprobs, _ = module(row)
    return -logprobs.sum() / max(answer_tokens, 1)  # type: ignore[no-any-return]


def _write(engine: TrainingEngine, settings: Settings, template: str) -> None:
    """Write the trained model as a Hugging Face directory, from the shards that the ranks write first."""
    sharded = Path(f"{settings.output}.sharded")
    engine.save_sharded(sharded)
    if engine.rank == 0:
        consolidate(sharded, settings.model, settings.output)
        Path(settings.output, PROMPT_FILE).write_text(template, encoding="utf-8")
        shutil.rmtree(sharded)
