"""The work of evaluate: ask a model all questions of all benchmarks, one benchmark after the other.

A finished benchmark is kept beside the output (or in `checkpoints`), so that a restarted run continues with the next
one. Its key is derived from all inputs that change its answers.
"""

import json
import logging
import shutil
import tempfile
from contextlib import closing
from pathlib import Path

import torch

from pebr.answers.check import AnswerChecker
from pebr.data.benchmark import read_tsv
from pebr.data.records import ANSWER_SCHEMA
from pebr.data.shards import ShardWriter, read_manifest
from pebr.errors import InputError
from pebr.evaluate.examination import Examiner
from pebr.evaluate.judge import Judge
from pebr.evaluate.settings import Settings
from pebr.evaluate.summary import overall
from pebr.files import atomic_directory, sha256
from pebr.rewards.clip import load_scorer
from pebr.sampling.contract import SamplingSettings
from pebr.sampling.start import start_for
from pebr.step.identity import facts_of, run_name
from pebr.step.launch import available_cores
from pebr.store.opening import open_store
from pebr.vlm.encoding import Encoder
from pebr.vlm.loading import check_model, load_processor

log = logging.getLogger("pebr")


def work(settings: Settings) -> dict[str, float]:
    """Evaluate a model; returns the means over the benchmarks, and how many rows were rejected.

    Raises:
        InputError: the benchmarks, the model or the judge's settings are wrong.
    """
    benchmarks = find_benchmarks(Path(settings.benchmarks), settings.only)
    judge = Judge(settings.judge_url, settings.judge_model) if settings.judge_url else None
    sampling = SamplingSettings.of(settings, settings.seed)
    check_model(settings.model)
    store, keys = open_store(settings.checkpoint_root), keys_of(settings, benchmarks)
    missing = [name for name in benchmarks if not store.exists(keys[name])]
    log.info("evaluate: %d of %d benchmarks to ask", len(missing), len(benchmarks))
    if missing:
        encoder = Encoder(load_processor(settings.model, settings.min_pixels, settings.max_pixels))
        device = "cuda" if torch.cuda.is_available() else "cpu"
        clip = load_scorer(settings.clip_model, device) if settings.clip_model else None
        engine = start_for(settings, settings.model, encoder)
        with closing(engine) as sampler, AnswerChecker(workers=available_cores()) as checker:
            examiner = Examiner(sampling, settings.max_prompt_tokens, encoder, sampler, checker, clip, judge)
            for name in missing:
                with tempfile.TemporaryDirectory() as scratch:
                    with ShardWriter(scratch, ANSWER_SCHEMA, "answers") as writer:
                        writer.extra = examiner.examine(name, list(read_tsv(benchmarks[name])), writer)
                    store.put(Path(scratch), keys[name])

    with atomic_directory(settings.output) as output:
        for name, key in keys.items():
            store.get(key, output / "answers" / name)
        results = {name: read_manifest(output / "answers" / name).extra for name in benchmarks}
        means = overall(results.values())
        (output / "scores.json").write_text(
            json.dumps({"benchmarks": results, **means}, indent=1, sort_keys=True) + "\n"
        )
    if not settings.checkpoints:
        shutil.rmtree(settings.checkpoint_root)
    return means | {"set_aside": float(sum(sum(scores["set_aside"].values()) for scores in results.values()))}


def find_benchmarks(directory: Path, only: str) -> dict[str, Path]:
    """The benchmarks of a directory by name, all or those in `only`, in alphabetical order; all rows are checked.

    Raises:
        InputError: there are no benchmarks, one in `only` is missing, or one has no usable row.
    """
    found = {path.stem: path for path in sorted(directory.glob("*.tsv"))}
    if not found:
        raise InputError(f"{directory}: no *.tsv here: give --benchmarks a directory of VLMEvalKit TSV files")
    wanted = [name.strip() for name in only.split(",") if name.strip()]
    if missing := [name for name in wanted if name not in found]:
        raise InputError(f"{directory}: no {missing[0]}.tsv here: --only takes names among {', '.join(found)}")
    chosen = {name: path for name, path in found.items() if not wanted or name in wanted}
    for path in chosen.values():
        kinds = [row.fault.kind if row.fault else "" for row in read_tsv(path)]
        if "" not in kinds:
            reason = f"none of {len(kinds)} rows can be used (the first: {kinds[0]})" if kinds else "no rows"
            raise InputError(f"{path}: {reason}: give a benchmark with questions")
    return chosen


def keys_of(settings: Settings, benchmarks: dict[str, Path]) -> dict[str, str]:
    """The store key of each benchmark's answers; it changes with every input that changes the answers."""
    facts = facts_of(settings, ignoring=("benchmarks",))
    return {name: f"{name}-{run_name(facts | {'benchmark': sha256(path)})}" for name, path in benchmarks.items()}
