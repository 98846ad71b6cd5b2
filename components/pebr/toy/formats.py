"""The toy data in the layouts of the public data sets, including faulty rows.

write_sft          mulberry_sft.json + images/            like Mulberry-SFT, with rows that `filter` must reject
write_pebr         pebr_sft.json + images/                like the SFT data of PeBR
write_rl           pebr_grpo_dataset.json + images/       like the RL data of PeBR
write_parquet      train-*.parquet                        like RL sets with images inside, the same questions
write_benchmarks   toy.tsv                                like a VLMEvalKit benchmark, with held-out questions

`ask` makes the questions: those of `pebr.toy.world`, or of another world with the same fields.
"""

import base64
import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypedDict

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pebr.toy.world import Split, ToyQuestion, questions

SFT_ROWS, PEBR_ROWS, RL_ROWS, BENCHMARK_ROWS = 6000, 600, 1200, 400
FAULT_EVERY = 25  # good SFT rows between two faulty ones

# Instructions inside each question of `write_sft`, as in Mulberry-SFT: other words than those of our prompt.
BLOCK = (
    "Describe the image with the question in mind. Then give reasons, think in small steps, and end with the answer"
    " in the form: 'The final answer is: xxx.\n\nUse these sections, each after ###:\n### Image Description:\n"
    "### Rationales:\n### Let's think step by step.\n### Step 1:\n### Step 2:\n...\n### The final answer is: \n\n"
    "Question: "
)
BENCHMARK_COLUMNS = ("index", "image", "question", "answer", "category", "split", "key_words")


class Ask(Protocol):
    """Makes the questions of a split from index `first` on."""

    def __call__(self, seed: int, rows: int, split: Split, first: int = 0) -> Iterator[ToyQuestion]:
        """The questions."""


class Row(TypedDict):
    """One row of Mulberry-SFT."""

    messages: list[dict[str, str]]
    images: str | list[str]


def write_sft(directory: Path | str, seed: int, rows: int = 0) -> None:
    """Write the warm-up data: `rows` good rows (0: SFT_ROWS), and one faulty row after every 25 good rows.

    As in Mulberry-SFT, each question holds a block of instructions, `images` is a string in some rows and a list in
    others, and a line break follows `<image>` in some rows only.
    """
    array: list[Row] = []
    faults = 0
    for index, (question, name, image) in enumerate(_saved(directory, questions(seed, rows or SFT_ROWS, "sft"))):
        array.append(_sft_row(question, name, index))
        if index % FAULT_EVERY == FAULT_EVERY - 1:
            spoil = _FAULTS[faults % len(_FAULTS)]
            faults += 1
            faulty = f"images/{question.qid}-{spoil.__name__.strip('_')}.png"
            array.append(spoil(_sft_row(question, faulty, faults), Path(directory, faulty), image))
    _write_array(Path(directory, "mulberry_sft.json"), array)


def write_pebr(directory: Path | str, seed: int, rows: int = 0, ask: Ask = questions) -> None:
    """Write further warm-up data (`rows` 0: PEBR_ROWS), with other images than `write_sft`, and without faults."""
    made = _saved(directory, ask(seed, rows or PEBR_ROWS, "sft", first=SFT_ROWS))
    array = [
        {
            "messages": [
                {"role": "user", "content": question.problem},
                {"role": "assistant", "content": question.taught},
            ],
            "images": [name],
        }
        for question, name, _ in made
    ]
    _write_array(Path(directory, "pebr_sft.json"), array)


def write_rl(directory: Path | str, seed: int, rows: int = 0, ask: Ask = questions) -> None:
    """Write the questions for reinforcement learning (`rows` 0: RL_ROWS); two of three `qid`s are numbers."""
    array = [
        {
            "qid": index if index % 3 else question.qid,
            "problem": question.problem,
            "answer": question.answer,
            "images": [name],
            "key_words": question.key_words,
        }
        for index, (question, name, _) in enumerate(_saved(directory, ask(seed, rows or RL_ROWS, "rl")))
    ]
    _write_array(Path(directory, "pebr_grpo_dataset.json"), array)


def write_parquet(directory: Path | str, seed: int, rows: int = 0) -> None:
    """Write the questions of `write_rl` as Parquet with the images inside, and the answers in tags."""
    table = [
        {
            "qid": question.qid,
            "images": [{"bytes": png(question.image), "path": None}],
            "problem": question.problem,
            "solution": f"<think>{question.description}</think> <answer> {question.answer} </answer>",
            "key_words": list(question.key_words),
        }
        for question in questions(seed, rows or RL_ROWS, "rl")
    ]
    Path(directory).mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(table), Path(directory, "train-00000-of-00001.parquet"))


def write_benchmarks(directory: Path | str, seed: int, rows: int = 0, ask: Ask = questions) -> None:
    """Write `toy.tsv`: held-out questions (`rows` 0: BENCHMARK_ROWS), the kind as `category`, key words as JSON.

    A column `board` has the question as data, in a world that has such a form.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    asked = list(ask(seed, rows or BENCHMARK_ROWS, "test"))
    further = ("board",) if any(question.board for question in asked) else ()
    with (directory / "toy.tsv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerow(BENCHMARK_COLUMNS + further)
        for index, question in enumerate(asked):
            cells = (
                index,
                base64.b64encode(png(question.image)).decode(),
                question.problem.removeprefix("<image>"),
                question.answer,
                question.kind,
                question.difficulty,
                json.dumps(question.key_words),
            )
            table.writerow(cells + tuple(getattr(question, name) for name in further))


def png(image: Image.Image) -> bytes:
    """The image as a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _saved(directory: Path | str, asked: Iterator[ToyQuestion]) -> Iterator[tuple[ToyQuestion, str, bytes]]:
    """Write the image of each question to `images/`; yields the question, the file's name and its content."""
    Path(directory, "images").mkdir(parents=True, exist_ok=True)
    for question in asked:
        name = f"images/{question.qid}.png"
        image = png(question.image)
        Path(directory, name).write_bytes(image)
        yield question, name, image


def _sft_row(question: ToyQuestion, name: str, index: int) -> Row:
    problem = question.problem.replace("<image>", f"<image>{BLOCK}" if index % 3 else f"<image>\n{BLOCK}")
    return {
        "messages": [{"role": "user", "content": problem}, {"role": "assistant", "content": question.taught}],
        "images": name if index % 5 < 2 else [name],
    }


def _reflective(row: Row, path: Path, image_file: bytes) -> Row:
    """An answer that revises itself."""
    path.write_bytes(image_file)
    answer = row["messages"][1]
    answer["content"] = answer["content"].replace(
        "### Let's think step by step.", "### Let's think step by step.\n\nLet me rethink it."
    )
    return row


def _missing(row: Row, path: Path, image_file: bytes) -> Row:
    """An image that was never downloaded."""
    return row


def _small(row: Row, path: Path, image_file: bytes) -> Row:
    """An image narrower than a vision token."""
    with Image.open(io.BytesIO(image_file)) as image:
        path.write_bytes(png(image.resize((20, 112))))
    return row


def _truncated(row: Row, path: Path, image_file: bytes) -> Row:
    """An image file that ends in the middle."""
    path.write_bytes(image_file[: len(image_file) // 2])
    return row


def _not_an_image(row: Row, path: Path, image_file: bytes) -> Row:
    """An error page of a server instead of an image."""
    path.write_text("<!doctype html><title>404 Not Found</title>\n")
    return row


_FAULTS: tuple[Callable[[Row, Path, bytes], Row], ...] = (_reflective, _missing, _small, _truncated, _not_an_image)


def _write_array(path: Path, rows: Sequence[object]) -> None:
    """Write a JSON array with one row per line."""
    path.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n", encoding="utf-8")
