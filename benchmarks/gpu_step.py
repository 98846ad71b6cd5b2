"""One whole GRPO step on a GPU: encode, sample, reward, reference pass, update, and what the GPU waits for.

    python -m benchmarks.gpu_step            on a GPU; at most five minutes on one H100 or H200
    python -m benchmarks.gpu_step --dry      on a CPU, with a tiny model and four questions

The stage runs as in training (`pebr.grpo.work`), with a model of the dimensions of Qwen2.5-VL 3B and random weights,
which is made on the spot: 64 questions of about 1000 tokens (702 of them image), 8 answers of 400 tokens each, bf16,
ZeRO 1, one update per step. Random weights hardly ever end an answer, so every answer has its full length; all are
wrong, and the KL term trains on them. vLLM samples where it is installed, else the transformers engine. The last of
three steps is shown: in the first, kernels are compiled and caches filled.

The ratio is the share of a step in which the GPU does not wait for encoded questions, rewards or packed rows; the goal
is 0.95. The result, with the card's name and each part's seconds, is written to `results/gpu_step.json` or `--output`.
"""

import argparse
import importlib.util
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from benchmarks.result import RESULTS
from pebr.data.records import RL_SCHEMA
from pebr.data.shards import ShardWriter
from pebr.grpo.settings import Settings
from pebr.grpo.work import work
from pebr.telemetry.history import read_history
from pebr.toy.formats import png
from pebr.toy.vlm import build_model

GOAL = 0.95
STEPS = 3  # the last one is shown
PARTS = ("encode", "sampling", "rewards", "reference", "update", "sync", "training", "waiting", "step")
TEXT: dict[str, Any] = {
    "hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36, "num_attention_heads": 16,
    "num_key_value_heads": 2, "vocab_size": 151936, "initializer_range": 0.02, "max_window_layers": 36,
}  # fmt: skip
VISION: dict[str, Any] = {
    "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 2048,
    "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31],
}  # fmt: skip
LARGE, SMALL = (756, 728), (56, 56)  # px: 702 and 4 image tokens
DRY: dict[str, Any] = {"questions": 4, "samples": 2, "answer": 8, "words": 5}
FULL: dict[str, Any] = {"questions": 64, "samples": 8, "answer": 400, "words": 250}


def build(directory: Path, dry: bool) -> Path:
    """The model and its processor: the tiny one, with the true dimensions if not `dry`."""
    build_model(directory, 0, width=64, layers=2, vision_width=64)
    if dry:
        return directory
    from transformers import AutoConfig, AutoModelForImageTextToText

    config = AutoConfig.from_pretrained(directory)
    patch = config.vision_config.patch_size
    for part, values in ((config.text_config, TEXT), (config.vision_config, VISION)):
        part.update(values)
    config.text_config.layer_types = ["full_attention"] * TEXT["num_hidden_layers"]
    config.text_config.rope_parameters = config.text_config.rope_parameters | {"mrope_section": [16, 24, 24]}
    assert config.vision_config.patch_size == patch  # the processor's
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(directory)
    del model
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return directory


def write_questions(directory: Path, count: int, words: int, size: tuple[int, int]) -> Path:
    """Questions with images of noise."""
    with ShardWriter(directory, RL_SCHEMA, "rl") as writer:
        for number in range(count):
            picture = Image.effect_noise(size, 40 + number).convert("RGB")
            problem = "<image>" + "How many red bars? " * (words // 5)
            row = {"qid": f"q{number}", "problem": problem, "answer": "7", "key_words": [], "extra": ""}
            writer.write(row | {"images": [{"bytes": png(picture), "path": None}]})
    return directory


def run(folder: Path, dry: bool) -> dict[str, Any]:
    """Run the stage, and describe its last step."""
    shape = DRY if dry else FULL
    vllm = not dry and importlib.util.find_spec("vllm") is not None
    settings = Settings(
        model=str(build(folder / "model", dry)),
        dataset=str(write_questions(folder / "questions", shape["questions"], shape["words"], SMALL if dry else LARGE)),
        output=str(folder / "weights"),
        history=str(folder / "history.jsonl"),
        rollouts=str(folder / "rollouts"),
        questions_per_step=shape["questions"],
        questions_per_update=shape["questions"],
        samples=shape["samples"],
        epochs=STEPS,
        max_response_tokens=shape["answer"],
        sampling="vllm" if vllm else "transformers",
        dtype="bf16" if torch.cuda.is_available() else "fp32",
        zero_stage=1 if torch.cuda.is_available() else 0,
        processes=1,
        save_every=0,
        futile_steps=0,
        drift_limit=0,
    )
    work(settings)
    row = read_history(settings.history)[-1]
    seconds = {part: row[f"seconds_{part}"] for part in PARTS}
    tokens = row["response_tokens"] * shape["questions"] * shape["samples"]
    return {
        "card": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "engine": settings.sampling,
        "torch": torch.__version__,
        "shape": {**shape, "dry": dry},
        "seconds": seconds,
        "share_of_step": {part: round(value / seconds["step"], 4) for part, value in seconds.items()},
        "sampled_tokens_per_second": round(tokens / seconds["sampling"], 1),
        "answers_left_out": row["answers_left_out"],
        "drift": row["drift/mean"],
    }


def main(arguments: Sequence[str] | None = None) -> Mapping[str, Any]:
    """Measure, write the result and print one line; returns the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry", action="store_true", help="a tiny model and four questions; the default on a CPU")
    parser.add_argument("--output", type=Path, default=RESULTS / "gpu_step.json", help="JSON file to write")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        found = run(Path(folder), given.dry or not torch.cuda.is_available())
    ratio = 1 - found["share_of_step"]["waiting"]
    result = {"name": "gpu_step", "ratio": round(ratio, 4), "goal": GOAL, "reached": ratio >= GOAL, **found}
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    print(f"gpu_step: ratio={ratio:.2f} goal={GOAL} {'ok' if ratio >= GOAL else 'short'} on {found['card']}")
    return result


if __name__ == "__main__":
    sys.exit(0 if main()["reached"] else 1)
