"""The work of SFT: maximum likelihood of the assistant's tokens, over packed rows.

    loss = - sum over the answers' tokens of log p(token | question, images, tokens before) / tokens of the batch

The vision tower and its projector stay as they are (they hold what pre-training has taught them, and a step costs
less). A run started again goes on from its newest checkpoint and ends with the same bytes.
"""

import logging
import math
import shutil
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from pebr.data.shards import ShardedDataset
from pebr.errors import InputError
from pebr.sft.batches import Batches
from pebr.sft.settings import Settings
from pebr.step import launch
from pebr.step.identity import facts_of, run_name
from pebr.telemetry.history import History
from pebr.telemetry.logs import duration
from pebr.training import lora
from pebr.training.checkpoints import Checkpoints
from pebr.training.consolidate import consolidate
from pebr.training.engine import EngineSettings, TrainingEngine
from pebr.training.logprobs import PolicyModel
from pebr.training.randomness import seed_everything
from pebr.vlm.encoding import Encoder
from pebr.vlm.loading import DTYPES, load_config, load_model, load_processor
from pebr.vlm.rows import Row, blank_row

log = logging.getLogger(__name__)

LOG_SECONDS = 5.0


def work(settings: Settings) -> Mapping[str, float]:
    """Train, write the Hugging Face directory, return the run's scalars.

    Raises:
        InputError: when model or dataset cannot be used, before a process is started.
        Preempted: stopped by SIGTERM, with a checkpoint to go on from.
    """
    dataset = ShardedDataset(settings.dataset)
    if dataset.manifest.kind != "sft":
        raise InputError(
            f"{settings.dataset}: rows of kind {dataset.manifest.kind}: give the output of filter --kind sft"
        )
    if not len(dataset):
        raise InputError(f"{settings.dataset}: no rows: look at its rejected/ for why the filter kept none")
    for name, least in {"epochs": 1, "batch_size": 1, "max_tokens": 1, "tokens_per_batch": 1, "max_steps": 0}.items():
        if getattr(settings, name) < least:
            raise InputError(f"--{name.replace('_', '-')} {getattr(settings, name)}: give at least {least}")
    load_config(settings.model)
    steps = math.ceil(len(dataset) / settings.batch_size) * settings.epochs
    engine_settings = EngineSettings(
        learning_rate=settings.learning_rate,
        total_steps=min(steps, settings.max_steps) if settings.max_steps else steps,
        weight_decay=settings.weight_decay,
        schedule="cosine",
        warmup_ratio=settings.warmup_ratio,
        max_grad_norm=settings.max_grad_norm,
        dtype=settings.dtype,
        zero_stage=settings.zero_stage,
        gradient_checkpointing=settings.gradient_checkpointing,
    )
    launch.relaunch_with_processes("pebr.sft", settings.processes)
    return launch.as_rank(lambda place: _train(settings, engine_settings, dataset, place))


def _train(
    settings: Settings, engine_settings: EngineSettings, dataset: ShardedDataset, place: launch.Place
) -> Mapping[str, float]:
    seed_everything(settings.seed)
    encoder = Encoder(load_processor(settings.model, settings.min_pixels, settings.max_pixels))
    model = load_model(settings.model, DTYPES[settings.dtype])
    if settings.lora_rank:
        lora.attach(model, settings.lora_rank, settings.seed)
    model.model.visual.requires_grad_(False)
    engine = TrainingEngine(
        PolicyModel(model),
        engine_settings,
        place,
        weights=model,
        checkpoints=Checkpoints(_prefix(settings), settings.keep_checkpoints, place),
    )
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
    saved = engine.resume() or {"set_aside": {}, "tokens": 0, "loss": 0.0, "history": []}
    set_aside, tokens, loss, rows = Counter(saved["set_aside"]), saved["tokens"], saved["loss"], saved["history"]
    history = History(settings.history, rows) if place.rank == 0 else None
    filler = blank_row(encoder).to(engine.device)
    steps = engine_settings.total_steps
    log.info("%d rows, %d steps of %d rows", len(dataset), steps, settings.batch_size)
    started = logged = time.monotonic()
    first = engine.step
    for batch in batches.run(engine.step, steps):
        began = time.monotonic()
        report = engine.update(
            [row.to(engine.device) for row in batch.rows],
            partial(_loss, answer_tokens=batch.answer_tokens),
            filler,
        )
        if engine.step <= batches.steps_per_epoch:  # each row is seen once an epoch: count in the first
            set_aside += batch.set_aside
        tokens, loss = tokens + batch.tokens, loss if report.refused else report.loss
        if not tokens and engine.step == min(batches.steps_per_epoch, steps):
            reasons = ", ".join(f"{count} {reason}" for reason, count in set_aside.most_common())
            raise InputError(
                f"{settings.dataset}: no row can be trained on ({reasons}): raise --max-tokens"
                f" ({settings.max_tokens}) or filter the data again"
            )
        now = time.monotonic()
        rows.append(
            {
                "step": engine.step,
                "loss": None if report.refused else report.loss,
                "learning_rate": report.learning_rate,
                "grad_norm": None if report.refused else report.grad_norm,
                "tokens": batch.tokens,
                "seconds": round(now - began, 4),
            }
        )
        if history is not None:
            history.append(rows[-1])
        if now - logged > LOG_SECONDS or engine.step == steps:
            logged = now
            left = (now - started) / (engine.step - first) * (steps - engine.step)
            log.info("step %d of %d: loss %.4f, %s left", engine.step, steps, report.loss, duration(left))
        state = {"set_aside": dict(set_aside), "tokens": tokens, "loss": loss, "history": rows}
        due = bool(settings.save_every) and engine.step % settings.save_every == 0
        engine.checkpoint(state, due=due or engine.step == steps)
    engine.finish()
    if set_aside:
        log.warning("rows set aside: %s", ", ".join(f"{count} {reason}" for reason, count in set_aside.most_common()))
    _write(engine, settings)
    return {
        "loss": loss,
        "steps": engine.step,
        "rows": len(dataset),
        "set_aside": set_aside.total(),
        "tokens": tokens,
        "refused_steps": engine.refused_steps,
        "parameters_trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
    }


def _loss(module: nn.Module, row: Row, answer_tokens: int) -> Tensor:
    logprobs, _ = module(row)
    return -logprobs.sum() / max(answer_tokens, 1)  # type: ignore[no-any-return]


def _write(engine: TrainingEngine, settings: Settings) -> None:
    """The trained model as a Hugging Face directory, by way of each rank's share."""
    sharded = Path(f"{settings.output}.sharded")
    engine.save_sharded(sharded)
    if engine.rank == 0:
        consolidate(sharded, settings.model, settings.output)
        shutil.rmtree(sharded)


def _prefix(settings: Settings) -> str:
    """Where this run's checkpoints are: of its settings, model and dataset, and of no other run's."""
    return f"{settings.checkpoint_root}/{run_name(facts_of(settings))}"
