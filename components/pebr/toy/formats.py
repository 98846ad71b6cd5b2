"""The tiny world in the layouts of the public data sets, blemishes included.

write_sft          mulberry_sft.json + images/            as Mulberry-SFT, with rows that `filter` must set aside
write_rl           pebr_grpo_dataset.json + images/       as the PeBR reinforcement-learning set
write_benchmarks   toy.tsv                                as a VLMEvalKit benchmark of held-out questions
"""

import base64
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from pebr.toy.world import ToyQuestion, questions

SFT_ROWS, RL_ROWS, BENCHMARK_ROWS = 6000, 1200, 400
FAULT_EVERY = 25  # good SFT rows between two faulty ones

BENCHMARK_COLUMNS = ("index", "image", "question", "answer", "category", "split", "key_words")


def write_sft(directory: Path | str, seed: int, rows: int = 0) -> None:
    """Write the warm-up data: `rows` good rows (0: a default) and, after every 25th of them, a faulty one.

    As in Mulberry-SFT, `images` is a string in some rows and a list in others, and `<image>` is followed by a line
    break or not.
    """
    directory = Path(directory)
    (directory / "images").mkdir(parents=True, exist_ok=True)
    array: list[dict[str, Any]] = []
    faults = 0
    for index, question in enumerate(questions(seed, rows or SFT_ROWS, "sft")):
        name = f"images/{question.qid}.png"
        (directory / name).write_bytes(png(question.image))
        array.append(_sft_row(question, name, index))
        if index % FAULT_EVERY == FAULT_EVERY - 1:
            spoil = _FAULTS[faults % len(_FAULTS)]
            faults += 1
            faulty = f"images/{question.qid}-{spoil.__name__.strip('_')}.png"
            array.append(spoil(_sft_row(question, faulty, faults), directory / faulty, png(question.image)))
    _write_array(directory / "mulberry_sft.json", array)


def write_rl(directory: Path | str, seed: int, rows: int = 0) -> None:
    """Write the reinforcement-learning questions (`rows` 0: a default); two in three `qid`s are numbers."""
    directory = Path(directory)
    (directory / "images").mkdir(parents=True, exist_ok=True)
    array = []
    for index, question in enumerate(questions(seed, rows or RL_ROWS, "rl")):
        name = f"images/{question.qid}.png"
        (directory / name).write_bytes(png(question.image))
        array.append(
            {
                "qid": index if index % 3 else question.qid,
                "problem": question.problem,
                "answer": question.answer,
                "images": [name],
                "key_words": list(question.key_words),
            }
        )
    _write_array(directory / "pebr_grpo_dataset.json", array)


def write_benchmarks(directory: Path | str, seed: int, rows: int = 0) -> None:
    """Write `toy.tsv`: held-out questions (`rows` 0: a default), their kind as `category`, their keywords as JSON."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "toy.tsv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerow(BENCHMARK_COLUMNS)
        for index, question in enumerate(questions(seed, rows or BENCHMARK_ROWS, "test")):
            table.writerow(
                (
                    index,
                    base64.b64encode(png(question.image)).decode(),
                    question.problem.removeprefix("<image>"),
                    question.answer,
                    question.kind,
                    question.difficulty,
                    json.dumps(question.key_words),
                )
            )


def png(image: Image.Image) -> bytes:
    """The image as a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _sft_row(question: ToyQuestion, name: str, index: int) -> dict[str, Any]:
    problem = question.problem if index % 3 else question.problem.replace("<image>", "<image>\n")
    return {
        "messages": [{"role": "user", "content": problem}, {"role": "assistant", "content": question.taught}],
        "images": name if index % 5 < 2 else [name],
    }


def _reflective(row: dict[str, Any], path: Path, picture: bytes) -> dict[str, Any]:
    """A teacher who changes its mind."""
    path.write_bytes(picture)
    answer = row["messages"][1]
    answer["content"] = answer["content"].replace(
        "### Let's think step by step.", "### Let's think step by step.\n\nLet me rethink it."
    )
    return row


def _missing(row: dict[str, Any], path: Path, picture: bytes) -> dict[str, Any]:
    """An image that was never downloaded."""
    return row


def _small(row: dict[str, Any], path: Path, picture: bytes) -> dict[str, Any]:
    """An image narrower than a vision token."""
    with Image.open(io.BytesIO(picture)) as image:
        path.write_bytes(png(image.resize((20, 112))))
    return row


def _truncated(row: dict[str, Any], path: Path, picture: bytes) -> dict[str, Any]:
    """An image whose download broke off."""
    path.write_bytes(picture[: len(picture) // 2])
    return row


def _not_an_image(row: dict[str, Any], path: Path, picture: bytes) -> dict[str, Any]:
    """The error page that a server sent in place of an image."""
    path.write_text("<!doctype html><title>404 Not Found</title>\n")
    return row


_FAULTS: tuple[Callable[[dict[str, Any], Path, bytes], dict[str, Any]], ...] = (
    _reflective,
    _missing,
    _small,
    _truncated,
    _not_an_image,
)


def _write_array(path: Path, rows: list[dict[str, Any]]) -> None:
    """A JSON array with one row a line."""

    path.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n", encoding="utf-8")
