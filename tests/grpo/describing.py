"""A world in which a description decides: which colour is at the left of two squares?

The teacher describes both squares in one half of its answers, and the right one alone in the other half; its answers
are right. Every second row has no image and describes both: from these, the model learns to read the answer from its
description. So it can answer from half of its descriptions without the image.
"""

import random
from pathlib import Path

from PIL import Image

from pebr.data.records import RL_SCHEMA, SFT_SCHEMA
from pebr.data.shards import ShardWriter
from pebr.sft.settings import Settings
from pebr.sft.work import work
from pebr.toy.formats import png
from pebr.toy.scenes import CELL, COLOURS

PROBLEM = "<image>What colour are the shapes at the top-left?"
RESPONSE = (
    "### Image Description:\nThe picture shows {seen}top-right {right}.\n\n### Rationales:\nLook at the top-left.\n\n"
    "### Let's think step by step.\n\n### Step 1:\ntop-left {left}.\n\n### The final answer is:\n{left}"
)


def scene(rng: random.Random) -> tuple[str, str, bytes]:
    """The colours left and right, and the image, one token each."""
    left, right = rng.sample(sorted(COLOURS), 2)
    image = Image.new("RGB", (2 * CELL, CELL), COLOURS[left])
    image.paste(COLOURS[right], (CELL, 0, 2 * CELL, CELL))
    return left, right, png(image)


def write_warm_up(directory: Path, rows: int) -> None:
    """Rows of the teacher."""
    rng = random.Random(0)
    with ShardWriter(directory, SFT_SCHEMA, "sft") as writer:
        for row in range(rows):
            left, right, image = scene(rng)
            sees, tells = row % 2 == 0, rng.random() < 0.5
            seen = "" if sees and not tells else f"top-left {left}, "
            answer = RESPONSE.format(seen=seen, left=left, right=right)
            messages = [
                {"role": "user", "content": PROBLEM if sees else PROBLEM.removeprefix("<image>")},
                {"role": "assistant", "content": answer},
            ]
            images = [{"bytes": image, "path": ""}] if sees else []
            writer.write({"qid": str(row), "messages": messages, "images": images})


def write_questions(directory: Path, rows: int) -> None:
    """Questions for reinforcement learning."""
    rng = random.Random(1)
    with ShardWriter(directory, RL_SCHEMA, "rl") as writer:
        for row in range(rows):
            left, _, image = scene(rng)
            question = {"qid": f"q{row}", "problem": PROBLEM, "answer": left, "key_words": [], "extra": ""}
            writer.write(question | {"images": [{"bytes": image, "path": None}]})


def warm_up(model: Path, directory: Path) -> Path:
    """Train a tiny model on the teacher's answers for a few seconds; returns the model."""
    write_warm_up(directory / "rows", 1500)
    settings = Settings(
        model=str(model),
        dataset=str(directory / "rows"),
        output=str(directory / "model"),
        history=str(directory / "history.jsonl"),
        batch_size=16,
        max_steps=180,
        epochs=3,
        learning_rate=5e-3,
        tokens_per_batch=3000,
        dtype="fp32",
        zero_stage=0,
        gradient_checkpointing="off",
        processes=1,
    )
    work(settings)
    return directory / "model"
