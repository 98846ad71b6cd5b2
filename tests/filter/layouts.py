"""The published layouts in small, of the same questions: SFT sets and RL sets, each a function that writes a folder."""

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pebr.toy.formats import png
from pebr.toy.world import questions
from tests.data.archiving import write_archive

BLOCK = (
    "Describe the image for the question, say why, reason in steps, and end in this form: 'The final answer is: xxx. If"
    " it is multiple-choice, give the option with its content.\n\nUse these sections, separated by ###:\n"
    "### Image Description:\n### Rationales:\n### Let's think step by step.\n### Step 1:\n### Step 2:\n...\n"
    "### The final answer is: \n\nQuestion: "
)


class Item(NamedTuple):
    """A question with its image."""

    question: str
    answer: str
    response: str
    image: bytes
    words: list[str]


ITEMS = [
    Item(q.problem.removeprefix("<image>"), q.answer, q.response, png(q.image), list(q.key_words))
    for q in questions(3, 8, "sft")
]
Writer = Callable[[Path, Sequence[Item]], None]


def turns(item: Item, question: str, role: str = "role", content: str = "content") -> list[dict[str, str]]:
    user, assistant = ("user", "assistant") if role == "role" else ("human", "gpt")
    return [{role: user, content: question}, {role: assistant, content: item.response}]


def write_json(path: Path, rows: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows))


def write_lines(path: Path, rows: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def loose(folder: Path, items: Sequence[Item]) -> None:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for number, item in enumerate(items):
        (folder / "images" / f"{number}.png").write_bytes(item.image)


def archive(path: Path, items: Sequence[Item], top: str) -> None:
    write_archive(path, {f"{top}/{number}.png": item.image for number, item in enumerate(items)})


def mulberry(folder: Path, items: Sequence[Item]) -> None:
    """One tar, paths with, without and before its first folder, a block of instructions in each question."""
    archive(folder / "mulberry_images.tar", items, "mulberry_images/AI2D/images")
    tops = ("AI2D/images", "mulberry_images/AI2D/images", "/home/maker/data/mulberry_images/AI2D/images")
    rows = [
        {
            "messages": turns(item, f"<image>{BLOCK}{item.question}" if n % 2 else f"{BLOCK}<image>\n{item.question}"),
            "images": f"{tops[n % 3]}/{n}.png" if n % 2 else [f"{tops[n % 3]}/{n}.png"],
        }
        for n, item in enumerate(items)
    ]
    write_json(folder / "mulberry_sft.json", rows)


def mulberry_in_parts(folder: Path, items: Sequence[Item]) -> None:
    """The tar compressed and cut in parts."""
    mulberry(folder, items)
    (folder / "mulberry_images.tar").unlink()
    archive(folder / "mulberry_images.tar.gz", items, "mulberry_images/AI2D/images")
    data = (folder / "mulberry_images.tar.gz").read_bytes()
    (folder / "mulberry_images.tar.gz").unlink()
    for name, part in (("aa", data[:1000]), ("ab", data[1000:])):
        (folder / f"mulberry_images.tar.gz.part_{name}").write_bytes(part)


def pebr_sft(folder: Path, items: Sequence[Item]) -> None:
    """Loose files."""
    loose(folder, items)
    rows = [
        {"messages": turns(item, f"<image>{item.question}"), "images": [f"images/{n}.png"]}
        for n, item in enumerate(items)
    ]
    write_json(folder / "pebr_sft.json", rows)


def llama_factory(folder: Path, items: Sequence[Item]) -> None:
    """A system turn with the image before the question, or a column `system` without a placeholder."""
    loose(folder, items)
    system = "You are a helpful assistant."
    rows: list[dict[str, Any]] = []
    for n, item in enumerate(items):
        if n % 2:
            messages = [{"role": "system", "content": system}, *turns(item, f"<image>{item.question}")]
            rows.append({"messages": messages, "images": [f"images/{n}.png"]})
        else:
            rows.append({"system": system, "messages": turns(item, item.question), "images": [f"images/{n}.png"]})
    write_json(folder / "data.json", rows)


def llava(folder: Path, items: Sequence[Item]) -> None:
    """`conversations` of `from` and `value`, pictures in a zip."""
    archive(folder / "images.zip", items, "coco")
    rows = [
        {
            "id": str(n),
            "image": f"coco/{n}.png",
            "conversations": turns(item, f"<image>\n{item.question}", "from", "value"),
        }
        for n, item in enumerate(items)
    ]
    write_json(folder / "llava.json", rows)


def content_parts(folder: Path, items: Sequence[Item]) -> None:
    """Turns as lists of texts and images, as JSON Lines in gz."""
    loose(folder, items)
    rows = [
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image", "image": f"images/{n}.png"}, {"type": "text", "text": item.question}],
                },
                {"role": "assistant", "content": [{"type": "text", "text": item.response}]},
            ]
        }
        for n, item in enumerate(items)
    ]
    write_lines(folder / "rows.jsonl.gz", rows)


def sft_parquet(folder: Path, items: Sequence[Item]) -> None:
    """Parquet with the pictures inside."""
    rows = [
        {"messages": turns(item, f"<image>{item.question}"), "images": [{"bytes": item.image, "path": None}]}
        for item in items
    ]
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "train-00000-of-00001.parquet")


def sft_web_dataset(folder: Path, items: Sequence[Item]) -> None:
    """Two WebDataset tars, whose keys are the same."""
    for shard in range(2):
        members = {}
        for n, item in enumerate(items[shard::2]):
            members[f"{n:04d}.json"] = json.dumps({"messages": turns(item, item.question)}).encode()
            members[f"{n:04d}.png"] = item.image
        write_archive(folder / f"{shard:05d}.tar", members)


def pebr_rl(folder: Path, items: Sequence[Item]) -> None:
    """PeBR's questions with their pictures in an archive."""
    archive(folder / "pebr_grpo_images.tar", items, "pebr_grpo_images")
    rows = [
        {
            "qid": n,
            "problem": f"<image>{item.question}",
            "answer": item.answer,
            "images": [f"pebr_grpo_images/{n}.png"],
            "key_words": item.words,
        }
        for n, item in enumerate(items)
    ]
    write_json(folder / "pebr_grpo_dataset.json", rows)


def virl(folder: Path, items: Sequence[Item]) -> None:
    """ViRL39K: answers in a box, lists of paths into a zip."""
    archive(folder / "images.zip", items, "images")
    rows = [
        {
            "question": f"<image>{i.question}",
            "answer": rf"\boxed{{{i.answer}}}",
            "image": [f"images/{n}.png"],
            "qid": f"q{n}",
        }
        for n, i in enumerate(items)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "39Krelease.parquet")


def geometry(folder: Path, items: Sequence[Item]) -> None:
    """geometry3k: lists of structs of bytes and path, in train and test files."""
    rows = [
        {"images": [{"bytes": i.image, "path": None}], "problem": f"<image>{i.question}", "answer": i.answer}
        for i in items
    ]
    (folder / "data").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows[:5]), folder / "data" / "train-00000-of-00002.parquet")
    pq.write_table(pa.Table.from_pylist(rows[5:]), folder / "data" / "train-00001-of-00002.parquet")
    pq.write_table(pa.Table.from_pylist(rows[:3]), folder / "data" / "test-00000-of-00001.parquet")


def open_r1(folder: Path, items: Sequence[Item]) -> None:
    """multimodal-open-r1: one struct, solutions with tags."""
    rows = [
        {
            "image": {"bytes": i.image, "path": "x.png"},
            "problem": i.question,
            "solution": f"<think>So it is.</think>\n\n<answer> {i.answer} </answer>",
        }
        for i in items
    ]
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "train.parquet")


def plain_bytes(folder: Path, items: Sequence[Item]) -> None:
    """Bytes as they are, the prompt as messages, the reference in a struct."""
    rows = [
        {
            "image": i.image,
            "prompt": [{"role": "user", "content": f"<image>{BLOCK}{i.question}"}],
            "reward_model": {"ground_truth": i.answer, "style": "rule"},
        }
        for i in items
    ]
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")


def rl_web_dataset(folder: Path, items: Sequence[Item]) -> None:
    """One compressed WebDataset."""
    members = {}
    for n, item in enumerate(items):
        members[f"{n}.json"] = json.dumps({"question": item.question, "answer": item.answer}).encode()
        members[f"{n}.png"] = item.image
    write_archive(folder / "rows.tar.zst", members)


SFT: list[Writer] = [
    mulberry,
    mulberry_in_parts,
    pebr_sft,
    llama_factory,
    llava,
    content_parts,
    sft_parquet,
    sft_web_dataset,
]
RL: list[Writer] = [pebr_rl, virl, geometry, open_r1, plain_bytes, rl_web_dataset]
