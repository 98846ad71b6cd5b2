"""Speed of sampling: each engine of this project against the plain use of its library, in alternation.

    make bench NAME=sampling

transformers: this project's engine against one `model.generate(num_return_sequences=8)` per question, at about 700
image tokens. The plain call computes each prompt eight times, keeps eight copies of its cache, and batches only the
answers of one question. Goal: 2 times the speed.

vllm: the rollout phase (read, encode, sample, score, save) against one `LLM.generate` call with all questions, in
questions per second, on the same engine with cleared caches. Goal: 0.95 times the speed.

The printed ratio is the smaller of the two, in units of its goal.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from PIL import Image

from benchmarks.result import finish, peak_bytes
from pebr.answers.check import AnswerChecker
from pebr.data.images import decode
from pebr.data.records import RL_SCHEMA
from pebr.data.shards import ShardedDataset, ShardWriter, iter_rows
from pebr.rollout.shards import Finished, Plan
from pebr.rollout.worker import Worker
from pebr.sampling.contract import SamplingSettings
from pebr.sampling.start import start_sampler
from pebr.store.opening import open_store
from pebr.toy.formats import png
from pebr.toy.vlm import build_model
from pebr.toy.world import questions
from pebr.vlm.encoding import Encoder
from pebr.vlm.loading import load_model, load_processor

ROUNDS = 3
QUESTIONS = 384  # in the rollout
ANSWERS = 8
GOALS = {"transformers": 2.0, "vllm": 0.95}
LARGE = (756, 728)  # px: 27 x 26 = 702 tokens


def transformers_against_generate(folder: Path) -> dict[str, Any]:
    """Measure both sides on prompts of 700 image tokens."""
    path = build_model(folder / "large", 0, width=256, vision_width=256)
    encoder = Encoder(load_processor(path))
    started = time.perf_counter()
    model = load_model(path)
    sampler = start_sampler("transformers", path, encoder, model=model)
    startup = time.perf_counter() - started
    settings = SamplingSettings(ANSWERS, 1.2, 1.0, max_response_tokens=48, seed=0)
    asked = list(questions(0, 4, "rl"))
    prompts = [encoder.prompt(question.problem, [_enlarged(question.image)]) for question in asked]

    def ours() -> int:
        answers = sampler.sample(prompts, [question.qid for question in asked], settings, 0)
        return sum(len(sample.token_ids) for samples in answers for sample in samples)

    def plain() -> int:
        tokens = 0
        for prompt in prompts:
            ids = torch.tensor([prompt.token_ids])
            rows = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                mm_token_type_ids=(ids == encoder.image_token_id).int(),
                pixel_values=prompt.pixel_values,
                image_grid_thw=prompt.image_grids,
                do_sample=True,
                temperature=1.2,
                top_k=0,
                top_p=1.0,
                num_return_sequences=ANSWERS,
                max_new_tokens=48,
                suppress_tokens=list(encoder.banned_token_ids),
                eos_token_id=list(encoder.eos_token_ids),
                pad_token_id=encoder.pad_token_id,
            )[:, ids.shape[1] :]
            tokens += int((rows != encoder.pad_token_id).sum())
        return tokens

    return _side_by_side(ours, plain, len(prompts)) | {
        "prompt_tokens": len(prompts[0].token_ids),
        "startup_seconds": round(startup, 1),
    }


def rollout_against_vllm(folder: Path) -> dict[str, Any]:
    """Measure the rollout phase and plain vLLM."""
    from vllm import SamplingParams

    path = build_model(folder / "small", 0)
    with ShardWriter(folder / "rl", RL_SCHEMA, "rl") as writer:
        for question in questions(0, QUESTIONS, "rl"):
            image = {"bytes": png(question.image), "path": ""}
            row = {"qid": question.qid, "problem": question.problem, "answer": question.answer, "images": [image]}
            writer.write({**row, "key_words": [], "extra": ""})
    dataset = ShardedDataset(folder / "rl")
    encoder = Encoder(load_processor(path))
    settings = SamplingSettings(ANSWERS, 1.2, 0.99, max_response_tokens=48, seed=0)
    started = time.perf_counter()
    checker = AnswerChecker()
    checker.start()  # as the rollout step does: in parallel with the start of the engine
    sampler: Any = start_sampler("vllm", path, encoder, max_tokens=256, memory_share=0.3)
    startup = time.perf_counter() - started
    engine = sampler.engine
    images = [decode(row["images"][0]["bytes"]) for row in dataset]
    prompts = [
        {"prompt": encoder.prompt(row["problem"], [image]).text, "multi_modal_data": {"image": image}}
        for row, image in zip(dataset, images, strict=True)
    ]
    params = SamplingParams(
        n=ANSWERS, temperature=1.2, top_p=0.99, max_tokens=48, logprobs=0, detokenize=False,
        stop_token_ids=list(encoder.eos_token_ids),
        logit_bias=dict.fromkeys(encoder.banned_token_ids, -100.0),
    )  # fmt: skip

    def clear_caches() -> None:
        engine.reset_prefix_cache()
        engine.reset_encoder_cache()
        engine.reset_mm_cache()

    def rollout() -> int:
        shutil.rmtree(folder / "shards", ignore_errors=True)
        finished = Finished(open_store(folder / "shards"), "bench")
        plan = Plan(len(dataset), 64)
        Worker(dataset, plan, finished, encoder, sampler, settings, checker, 256, "strict").run(range(plan.shards))
        clear_caches()
        return sum(r["token_count"] for shard in shards() for row in iter_rows(shard) for r in row["responses"])

    def shards() -> list[Path]:
        return sorted((folder / "shards" / "bench").iterdir())

    def bare() -> int:
        outputs = sampler.llm.generate(prompts, params, use_tqdm=False)
        clear_caches()
        return sum(len(answer.token_ids) for output in outputs for answer in output.outputs)

    result = _side_by_side(rollout, bare, len(dataset)) | {"startup_seconds": round(startup, 1)}
    sampler.close()
    checker.close()
    return result


def _side_by_side(ours: Callable[[], int], plain: Callable[[], int], count: int) -> dict[str, Any]:
    """Run both in alternation and return the medians. Peak memory is measured once, before, as the warm-up."""
    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    tokens: dict[str, int] = {}
    peaks = {name: peak_bytes(action) for name, action in (("ours", ours), ("plain", plain))}
    for _ in range(ROUNDS):
        for name, action in (("ours", ours), ("plain", plain)):
            started = time.perf_counter()
            tokens[name] = action()
            seconds[name].append(time.perf_counter() - started)
    times = {name: median(values) for name, values in seconds.items()}
    return {
        "ratio": round(times["plain"] / times["ours"], 3),
        "questions_per_second": {name: round(count / value, 3) for name, value in times.items()},
        "tokens_per_second": {name: round(tokens[name] / value, 1) for name, value in times.items()},
        "peak_mb": {name: round(peak / 1e6) for name, peak in peaks.items()},
    }


def _enlarged(image: Image.Image) -> Image.Image:
    return image.resize(LARGE, Image.Resampling.BICUBIC)


def main() -> None:
    """Measure and report."""
    with tempfile.TemporaryDirectory() as name:
        numbers = {"transformers": transformers_against_generate(Path(name)), "vllm": rollout_against_vllm(Path(name))}
    for engine, result in numbers.items():
        print(f"{engine}: ratio={result['ratio']} goal={GOALS[engine]} {result}", file=sys.stderr)
    worst = min(result["ratio"] / GOALS[engine] for engine, result in numbers.items())
    finish("sampling", worst, 1.0, {"engines": numbers, "goals": GOALS, "load": os.getloadavg()})


if __name__ == "__main__":
    main()
