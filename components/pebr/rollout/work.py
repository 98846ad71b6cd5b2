"""The rollout phase: sample several answers to every question of the RL set and score each, shard by shard.

    python -m pebr.rollout --model MODEL --dataset RL --output ROLLOUTS --samples 8

Worker k of n takes the shards k, k + n, ..., by default with one worker per GPU. Workers do not communicate; the first
one waits for the others and makes one dataset of all shards. A restarted run keeps the finished shards and samples the
others. With the transformers engine in float32, a killed and restarted run ends with the same bytes.
"""

import logging
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from pebr.answers.check import AnswerChecker
from pebr.data.shards import ShardedDataset, iter_rows, read_manifest
from pebr.errors import InputError
from pebr.files import atomic_directory
from pebr.rollout.settings import Settings
from pebr.rollout.shards import Finished, Plan, name_of
from pebr.rollout.worker import Worker as ShardWorker
from pebr.sampling.contract import SamplingSettings
from pebr.sampling.start import start_for
from pebr.sampling.workers import Worker, start_workers, take_own_gpus, wait_for_others
from pebr.step.launch import available_cores
from pebr.step.ranks import is_first_process
from pebr.store.opening import open_store
from pebr.vlm.encoding import Encoder
from pebr.vlm.loading import check_model, load_processor

log = logging.getLogger(__name__)


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
    worker = start_workers("rollout", settings.processes, settings.tensor_parallel)

    started = time.monotonic()
    plan = Plan(manifest.rows, settings.rows_per_shard)
    checkpoints = settings.checkpoint_root
    finished = Finished(open_store(checkpoints), name_of(settings))
    unfinished = [shard for shard in range(plan.shards) if not finished.has(shard)]
    _sample_own_shards(settings, worker, plan, finished, unfinished)
    if not is_first_process():
        return {}
    wait_for_others("rollout", lambda: sum(not finished.has(shard) for shard in range(plan.shards)))
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


def _sample_own_shards(
    settings: Settings, worker: Worker, plan: Plan, finished: Finished, unfinished: Sequence[int]
) -> None:
    """Sample this worker's share of the unfinished shards."""
    shards, own = list(filter(worker.has, unfinished)), sum(map(worker.has, range(plan.shards)))
    log.info("rollout: worker %d of %d, %d of its %d shards to sample", *worker, len(shards), own)
    if not shards:
        return
    take_own_gpus(settings.tensor_parallel)
    encoder = Encoder(load_processor(settings.model, settings.min_pixels, settings.max_pixels))
    sampling = SamplingSettings.of(settings, settings.seed)
    with AnswerChecker(workers=max(1, available_cores() // worker.workers - 1)) as checker:
        checker.start()  # while the engine starts
        with closing(start_for(settings, settings.model, encoder)) as sampler:
            dataset = ShardedDataset(settings.dataset)
            limit, reading = settings.max_prompt_tokens, settings.answer_reading
            ShardWorker(dataset, plan, finished, encoder, sampler, sampling, checker, limit, reading).run(shards)


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
