"""The work of evaluate: ask a model all questions of all benchmarks, shard by shard.

    python -m pebr.evaluate --model MODEL --benchmarks TABLES --output SCORES

Workers share the shards as in the rollout, by default one worker per GPU; the scores do not depend on their number.
Finished shards are kept beside the output (or in `checkpoints`), so that a restarted run continues with the others.
"""

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from pebr.answers.check import AnswerChecker
from pebr.data.benchmark import BenchmarkRow, read_tsv, tables
from pebr.data.records import ANSWER_SCHEMA
from pebr.data.shards import ShardWriter, read_manifest
from pebr.errors import InputError
from pebr.evaluate.examination import Examiner, report
from pebr.evaluate.judge import Judge
from pebr.evaluate.settings import QUESTIONS, Settings
from pebr.evaluate.shards import Finished, Part, parts_of
from pebr.evaluate.summary import overall
from pebr.files import atomic_directory, sha256
from pebr.rewards.clip import load_scorer
from pebr.sampling.contract import SamplingSettings
from pebr.sampling.sharded import Settled, ShardSampler
from pebr.sampling.start import start_for
from pebr.sampling.workers import Worker, start_workers, take_own_gpus, wait_for_others
from pebr.step.identity import facts_of, run_name
from pebr.step.launch import available_cores
from pebr.step.ranks import is_first_process
from pebr.store.opening import open_store
from pebr.vlm.encoding import Encoder
from pebr.vlm.loading import check_model, load_processor

log = logging.getLogger("pebr")


class Benchmark(NamedTuple):
    """A benchmark's table."""

    path: Path
    rows: int


def work(settings: Settings) -> dict[str, float]:
    """Evaluate a model; returns the means over the benchmarks, and how many rows were rejected.

    Raises:
        InputError: the benchmarks, the model or the judge's settings are wrong.
        Preempted: on SIGTERM; the finished shards are kept.
    """
    benchmarks = find_benchmarks(Path(settings.benchmarks), settings.only)
    check_model(settings.model)
    worker = start_workers("evaluate", settings.processes, settings.tensor_parallel)
    finished = Finished(open_store(settings.checkpoint_root), keys_of(settings, benchmarks))
    parts = parts_of({name: benchmark.rows for name, benchmark in benchmarks.items()})
    missing = {number: part for number, part in enumerate(parts) if not finished.has(part)}
    log.info(
        "evaluate: %d of %d benchmarks to ask", len({part.benchmark for part in missing.values()}), len(benchmarks)
    )
    own = [part for number, part in missing.items() if worker.has(number)]
    _ask_own_shards(settings, worker, benchmarks, finished, own)
    if not is_first_process():
        return {}
    wait_for_others("evaluate", lambda: sum(not finished.has(part) for part in parts))
    with atomic_directory(settings.output) as output, (output / QUESTIONS).open("w") as questions:
        for name, benchmark in benchmarks.items():
            with ShardWriter(output / "answers" / name, ANSWER_SCHEMA, "answers") as writer:
                outcomes = [outcome for part in parts if part.benchmark == name for outcome in finished.get(part)]
                writer.extra = report(name, list(read_tsv(benchmark.path)), outcomes, writer, questions)
        results = {name: read_manifest(output / "answers" / name).extra for name in benchmarks}
        means = overall(results.values())
        (output / "scores.json").write_text(
            json.dumps({"benchmarks": results, **means}, indent=1, sort_keys=True) + "\n"
        )
    if not settings.checkpoints:
        shutil.rmtree(settings.checkpoint_root)
    return means | {"set_aside": float(sum(sum(scores["set_aside"].values()) for scores in results.values()))}


def _ask_own_shards(
    settings: Settings, worker: Worker, benchmarks: Mapping[str, Benchmark], finished: Finished, parts: Sequence[Part]
) -> None:
    """Ask and score this worker's unfinished shards, one benchmark after the other."""
    log.info("evaluate: worker %d of %d, %d shards to ask", *worker, len(parts))
    if not parts:
        return
    take_own_gpus(settings.tensor_parallel)
    encoder = Encoder(load_processor(settings.model, settings.min_pixels, settings.max_pixels))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    clip = load_scorer(settings.clip_model, device) if settings.clip_model else None
    judge = Judge(settings.judge_url, settings.judge_model) if settings.judge_url else None
    sampling = SamplingSettings.of(settings, settings.seed)
    cores = max(1, available_cores() // worker.workers)
    with closing(start_for(settings, settings.model, encoder)) as sampler, AnswerChecker(workers=cores) as checker:
        examiner = Examiner(settings.max_prompt_tokens, encoder, checker, clip, judge)

        def save(part: Part, settled: Sequence[Settled[BenchmarkRow]]) -> None:
            finished.put(part, examiner.score(part.benchmark, settled))

        for name in dict.fromkeys(part.benchmark for part in parts):
            rows = list(read_tsv(benchmarks[name].path))
            sharded = ShardSampler(sampler, sampling, partial(examiner.read, rows), save, f"evaluate {name}")
            sharded.run({part: part.rows for part in parts if part.benchmark == name})


def find_benchmarks(directory: Path, only: str) -> dict[str, Benchmark]:
    """The benchmarks of a directory by name, all or those in `only`, in alphabetical order; all rows are checked.

    Raises:
        InputError: there are no benchmarks, one in `only` is missing, or one has no usable row.
    """
    found = tables(directory)
    wanted = [name.strip() for name in only.split(",") if name.strip()]
    if missing := [name for name in wanted if name not in found]:
        raise InputError(f"{directory}: no {missing[0]}.tsv here: --only takes names among {', '.join(found)}")
    chosen = dict[str, Benchmark]()
    for name, path in found.items():
        if wanted and name not in wanted:
            continue
        kinds = [row.fault.kind if row.fault else "" for row in read_tsv(path)]
        if "" not in kinds:
            reason = f"none of {len(kinds)} rows can be used (the first: {kinds[0]})" if kinds else "no rows"
            raise InputError(f"{path}: {reason}: give a benchmark with questions")
        chosen[name] = Benchmark(path, len(kinds))
    return chosen


def keys_of(settings: Settings, benchmarks: Mapping[str, Benchmark]) -> dict[str, str]:
    """The store key of each benchmark's answers; it changes with every input that changes the answers."""
    facts = facts_of(settings, ignoring=("benchmarks",))
    return {name: f"{name}-{run_name(facts | {'benchmark': sha256(made.path)})}" for name, made in benchmarks.items()}
