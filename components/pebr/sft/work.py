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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self

from torch import Tensor, nn

from pebr.data.shards import ShardedDataset, iter_rows
from pebr.errors import InputError
from pebr.sft.batches import Batch, Batches
from pebr.sft.settings import FROM_DATA, Settings
from pebr.sft.validation import validation_loss
from pebr.step import launch
from pebr.step.identity import facts_of
from pebr.telemetry import metrics
from pebr.telemetry.history import History
from pebr.telemetry.logs import duration
from pebr.training import lora
from pebr.training.checkpoints import Checkpoints
from pebr.training.consolidate import consolidate
from pebr.training.efficiency import publish_efficiency
from pebr.training.engine import EngineSettings, TrainingEngine, UpdateReport
from pebr.training.live import Live
from pebr.training.logprobs import PolicyModel
from pebr.training.memory import check_memory
from pebr.training.randomness import seed_everything
from pebr.training.validation import HistoryRow, Score, held_out, own_rows
from pebr.training.zero_loading import load_trainable
from pebr.vlm.encoding import Encoder
from pebr.vlm.families import train_vision
from pebr.vlm.loading import check_model, load_processor
from pebr.vlm.prompt import PROMPT_FILE, PUBLISHED, read_template, template_of
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
    template = _template(settings, dataset)
    trained, validated = _divided(settings, dataset)
    steps = math.ceil(len(trained) / settings.batch_size) * settings.epochs
    steps = min(steps, settings.max_steps) if settings.max_steps else steps
    engine_settings = EngineSettings.of(settings, steps, settings.max_tokens, "cosine", settings.warmup_ratio)
    launch.relaunch_with_processes("pebr.sft", settings.processes)
    data = _Data(dataset, trained, validated, template)
    return launch.as_rank(lambda place: _train(settings, engine_settings, data, place))


class _Data(NamedTuple):
    """What a run trains on."""

    dataset: ShardedDataset
    trained: Sequence[int]  # rows to train on
    validated: Sequence[int]  # rows held out for validation
    template: str  # of the prompt


def _divided(settings: Settings, dataset: ShardedDataset) -> tuple[Sequence[int], Sequence[int]]:
    """The rows to train on, and those that are held out for validation."""
    if not settings.validate_every:
        return range(len(dataset)), []
    ids = [row["qid"] for row in iter_rows(Path(settings.dataset), columns=["qid"])]
    return held_out(ids, settings.validation_questions)


def _template(settings: Settings, dataset: ShardedDataset) -> str:
    """The prompt that the run asks with.

    Raises:
        InputError: it cannot be read, or the data were published without instructions.
    """
    if settings.prompt != FROM_DATA:
        return read_template(settings.prompt or settings.model)
    instructions = dataset.manifest.extra.get(PUBLISHED)
    if not instructions:
        raise InputError(
            f"--prompt {FROM_DATA}: the questions of {settings.dataset} were published without instructions: give a"
            " text file, or nothing for our prompt"
        )
    return template_of(instructions)


def _train(
    settings: Settings, engine_settings: EngineSettings, data: _Data, place: launch.Place
) -> Mapping[str, float]:
    """The run on one of its ranks."""
    dataset, template = data.dataset, data.template
    seed_everything(settings.seed)
    encoder = Encoder(load_processor(settings.model, settings.min_pixels, settings.max_pixels), template)
    check_memory(settings.model, engine_settings, place.world_size, trains_vision=False, lora_rank=settings.lora_rank)
    model = load_trainable(settings.model, engine_settings, place)
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
        data.trained,
    )
    steps = engine_settings.total_steps
    log.info("%d rows, %d training steps of %d rows", len(data.trained), steps, settings.batch_size)
    held = batches.of(data.validated) if data.validated else None  # encoded once, before a thread reads ahead
    if held:
        log.info("%d rows are held out for validation, %d of them rejected", len(data.validated), held.rejected.total())
    score = Score("validation/loss", False, settings.stop_at, settings.stop_patience)
    live = Live(checkpoints.location, "SFT warm-up", steps, settings.history) if place.rank == 0 else None
    totals = _run(settings, engine, batches, held, score, live, blank_row(encoder).to(engine.device))
    if totals.rejected:
        log.warning("rows rejected: %s", totals.reasons())
    if engine.step < steps:
        log.warning("stopped early, after step %d of %d: %s", engine.step, steps, score.stop(totals.own))
    best = score.best(totals.own)
    made = engine.step
    if settings.weights == "best" and best and best["step"] != made:
        engine.restore(best["step"])
    _write(engine, settings, template)
    engine.finish()
    if live is not None:
        live.write(now=True, done=True)
    return {
        "loss": totals.loss,
        "steps": made,
        **({"best_step": best["step"], "validation_loss": best[score.key]} if best else {}),
        "rows": len(data.trained),
        "validation_rows": len(data.validated),
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
    history: list[HistoryRow]
    resumed_from: str = ""  # the checkpoint of another run from which the next step continues

    @classmethod
    def resume(cls, engine: TrainingEngine) -> Self:
        """Resume from the newest checkpoint, if any."""
        saved = engine.resume() or {"set_aside": {}, "tokens": 0, "loss": 0.0, "history": []}
        resumed_from = saved.get("resumed_from", "")
        return cls(Counter(saved["set_aside"]), saved["tokens"], saved["loss"], saved["history"], resumed_from)

    @property
    def own(self) -> Sequence[HistoryRow]:
        """The rows of this run, see `own_rows`."""
        return own_rows(self.history, pending=bool(self.resumed_from))

    def state(self) -> dict[str, object]:
        """The form that a checkpoint holds."""
        return {"set_aside": dict(self.rejected), "tokens": self.tokens, "loss": self.loss, "history": self.history}

    def reasons(self) -> str:
        """Counts and reasons of the rejected rows, the most frequent first."""
        return ", ".join(f"{count} {reason}" for reason, count in self.rejected.most_common())


def _run(
    settings: Settings,
    engine: TrainingEngine,
    batches: Batches,
    held: Batch | None,
    score: Score,
    live: Live | None,
    filler: Row,
) -> _Totals:
    """Train from the newest checkpoint to the last training step, or until `score` says to stop.

    Raises:
        InputError: when no row can be trained on.
    """
    totals = _Totals.resume(engine)
    history = History(settings.history, totals.history) if engine.rank == 0 else None
    steps = engine.settings.total_steps
    metrics.begin(steps)
    started = logged = time.monotonic()
    first = engine.step
    for batch in batches.run(engine.step, 0 if score.stop(totals.own) else steps):
        began = time.monotonic()
        rows = [row.to(engine.device) for row in batch.rows]
        report = engine.update(rows, partial(_loss, answer_tokens=batch.answer_tokens), filler)
        publish_efficiency(engine.weights, batch.tokens, time.monotonic() - began, engine.place)
        if engine.step <= batches.steps_per_epoch:  # each epoch has all rows: count those of the first
            totals.rejected += batch.rejected
            _record_rows(len(batches.indices(engine.step - 1)), batch.rejected)
        totals.tokens += batch.tokens
        totals.loss = totals.loss if report.refused else report.loss
        if not totals.tokens and engine.step == min(batches.steps_per_epoch, steps):
            raise _no_rows(settings, totals)
        now = time.monotonic()
        row = _history_row(engine.step, report, batch.tokens, now - began)
        if totals.resumed_from:
            row["resumed_from"], totals.resumed_from = totals.resumed_from, ""
        is_last = engine.step == steps
        if held and (is_last or engine.step % settings.validate_every == 0):
            row[score.key] = validation_loss(engine, held, filler)
            row["seconds_validation"] = round(time.monotonic() - now, 4)
        totals.history.append(row)
        if not is_last and (reason := score.stop(totals.own)):
            row["stopped"] = reason
        if history is not None:
            history.append(row)
        if live is not None:
            live.write(now=score.key in row)
        if now - logged > LOG_SECONDS or engine.step == steps:
            logged = now
            left = (now - started) / (engine.step - first) * (steps - engine.step)
            log.info("step %d of %d: loss %.4f, %s left", engine.step, steps, report.loss, duration(left))
        best = score.best(totals.own)
        due = engine.is_due(engine.step, settings.save_every, settings.save_minutes)
        due = due or is_last or best is row or "stopped" in row
        engine.checkpoint(totals.state(), due, best["step"] if best else 0)
        if "stopped" in row:
            break
    return totals


def _no_rows(settings: Settings, totals: _Totals) -> InputError:
    return InputError(
        f"{settings.dataset}: no row can be trained on ({totals.reasons()}): raise --max-tokens"
        f" ({settings.max_tokens}) or filter the data again"
    )


def _record_rows(read: int, rejected: Counter[str]) -> None:
    metrics.record_row(rows=read - rejected.total())
    for kind, count in rejected.items():
        metrics.record_row(kind, count)


def _history_row(step: int, report: UpdateReport, tokens: int, seconds: float) -> HistoryRow:
    return {
        "step": step,
        "loss": None if report.refused else report.loss,
        "learning_rate": report.learning_rate,
        "grad_norm": None if report.refused else report.grad_norm,
        "tokens": tokens,
        "seconds": round(seconds, 4),
    }


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
