"""The rollout phase: sample several answers to every question of the RL set and score each, shard by shard.

    python -m pebr.rollout --model MODEL --dataset RL --output ROLLOUTS --samples 8

Worker k of n takes the shards k, k + n, ..., by default with one worker per GPU. Workers do not communicate; the first
one waits for the others and makes one dataset of all shards. A restarted run keeps the finished shards and samples the
others. With the transformers engine in float32, a killed and restarted run ends with the same bytes.
"""

import logging
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import FrameType

import torch

from pebr.answers.check import AnswerChecker
from pebr.data.shards import ShardedDataset, iter_rows, read_manifest
from pebr.errors import InputError, Preempted
from pebr.files import atomic_directory
from pebr.rollout.settings import Settings
from pebr.rollout.shards import Finished, Plan, name_of
from pebr.rollout.worker import Worker
from pebr.sampling.contract import SamplingSettings
from pebr.sampling.start import start_for
from pebr.step.command import is_first_process
from pebr.step.launch import available_cores, die_with_parent, relaunch_with_processes
from pebr.store.opening import open_store
from pebr.vlm.encoding import Encoder
from pebr.vlm.loading import check_model, load_processor

log = logging.getLogger(__name__)

_POLL_SECONDS = 1.0


def work(settings: Settings) -> Mapping[str, float]:
    """Run the phase and return its metrics.

    Raises:
        InputError: when the dataset, the model or a setting is not usable.
        Preempted: on SIGTERM; the finished shards are kept.
    """
    manifest = read_manifest(settings.dataset)
    if manifest.kind != "rl" or not manifest.rows:
        raise InputError(f"{settings.dataset}: {manifest.rows} rows of kind {manifest.kind}: give filtered RL rows")
    check_model(settings.model)
    gpu_groups = torch.cuda.device_count() // settings.tensor_parallel
    relaunch_with_processes("pebr.rollout", settings.processes or max(gpu_groups, 1))
    if "RANK" in os.environ:
        die_with_parent()
    signal.signal(signal.SIGTERM, _stop)

    started = time.monotonic()
    plan = Plan(manifest.rows, settings.rows_per_shard)
    checkpoints = settings.checkpoint_root
    finished = Finished(open_store(checkpoints), name_of(settings))
    unfinished = [shard for shard in range(plan.shards) if not finished.has(shard)]
    _sample_own_shards(settings, plan, finished, unfinished)
    if not is_first_process():
        return {}
    while missing := sum(not finished.has(shard) for shard in range(plan.shards)):
        log.info("rollout: waiting for the other workers: %d of %d shards are missing", missing, plan.shards)
        time.sleep(_POLL_SECONDS)
    seconds = time.monotonic() - started
    facts = {"samples": settings.samples, "temperature": settings.temperature, "top_p": settings.top_p}
    with atomic_directory(settings.output) as output, tempfile.TemporaryDirectory() as scratch:
        whole = finished.assemble(plan.shards, Path(scratch), output, facts)
    if not settings.checkpoints:
        shutil.rmtree(checkpoints)
    log.info("rollout: %d questions, %d rejected %s", whole.rows, sum(whole.rejected.values()), whole.rejected or "")
    return _metrics(settings.output) | {
        "questions": whole.rows,
        "rejected": sum(whole.rejected.values()),
        # Of all workers together
        "questions_per_second": sum(len(plan.rows_of(shard)) for shard in unfinished) / seconds,
    }


def _sample_own_shards(settings: Settings, plan: Plan, finished: Finished, unfinished: Sequence[int]) -> None:
    """Sample this worker's share of the unfinished shards."""
    worker, workers = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    own = range(worker, plan.shards, workers)
    shards = [shard for shard in unfinished if shard in own]
    log.info("rollout: worker %d of %d, %d of its %d shards to sample", worker, workers, len(shards), len(own))
    if not shards:
        return
    _take_own_gpus(settings.tensor_parallel)
    encoder = Encoder(load_processor(settings.model, settings.min_pixels, settings.max_pixels))
    sampling = SamplingSettings.of(settings, settings.seed)
    with AnswerChecker(workers=max(1, available_cores() // workers - 1)) as checker:
        checker.start()  # while the engine starts
        with closing(start_for(settings, settings.model, encoder)) as sampler:
            dataset = ShardedDataset(settings.dataset)
            limit, reading = settings.max_prompt_tokens, settings.answer_reading
            Worker(dataset, plan, finished, encoder, sampler, sampling, checker, limit, reading).run(shards)


def _metrics(output: str) -> dict[str, float]:
    """Accuracy and lengths of the answers in the finished dataset."""
    rates: list[float] = []
    tokens = cut_off = answers = 0
    for row in iter_rows(output, columns=["responses"]):
        responses = row["responses"]
        rates.append(sum(response["accuracy"] for response in responses) / len(responses))
        tokens += sum(response["token_count"] for response in responses)
        cut_off += sum(response["finish_reason"] == "length" for response in responses)
        answers += len(responses)
    questions = max(len(rates), 1)
    return {
        "accuracy": sum(rates) / questions,
        "all_right": sum(rate == 1 for rate in rates) / questions,
        "none_right": sum(rate == 0 for rate in rates) / questions,
        "response_tokens": tokens / max(answers, 1),
        "cut_off": cut_off / max(answers, 1),
    }


def _take_own_gpus(tensor_parallel: int) -> None:
    """Make only this worker's GPUs visible to it."""
    count = torch.cuda.device_count()
    if not count:
        return
    place = int(os.environ.get("LOCAL_RANK", "0"))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(count)))).split(",")
    own = visible[place * tensor_parallel : (place + 1) * tensor_parallel]
    if len(own) < tensor_parallel:
        raise InputError(
            f"worker {place} needs {tensor_parallel} GPUs of its own, but the machine has {count} in all:"
            " lower --processes or --tensor-parallel"
        )
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(own)


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise Preempted("rollout: stopped by SIGTERM; the finished shards are kept: restart to continue")
