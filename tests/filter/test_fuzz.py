"""Damaged data of every kind ends in rows kept or rejected, or in one clear error; no row is lost."""

import copy
import io
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pebr.errors import InputError
from pebr.filter.settings import Settings
from pebr.filter.work import work
from tests.data.archiving import packed
from tests.filter.layouts import ITEMS
from tests.filter.test_work import rl_row, sft_row

IMAGES = {f"images/{n}.png": item.image for n, item in enumerate(ITEMS[:3])}
SFT_ROWS = [sft_row(f"images/{n}.png") for n in range(3)]
RL_ROWS = [rl_row(qid=n, images=[f"images/{n}.png"]) for n in range(3)]
VALUES: list[Any] = [
    None,
    0,
    -1.5,
    10**400,
    True,
    "",
    "<image>",
    "x" * 300,
    "\ud800",
    "\0",
    [],
    [[]],
    [None],
    {},
    {"a": []},
]
VALUES += [
    {"bytes": "????"},
    "data:image/png;base64,!",
    "../../x.png",
    "/etc/passwd",
    ["<image>"] * 3,
    "[" * 2000,
    "\u202e",
]
INPUTS = 250  # per kind of damage; 2,250 in all


def parquet(rows: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def struct_rows() -> list[dict[str, Any]]:
    return [row | {"images": [{"bytes": IMAGES[row["images"][0]], "path": "x"}]} for row in RL_ROWS]


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Bytes with a few of them changed, a piece cut out, doubled or cut off, or nothing of it left."""
    content = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 8))):
        place = draw.randrange(max(len(content), 1))
        how = draw.randrange(6)
        if how == 0:
            content[place : place + 1] = draw.randbytes(1)
        elif how == 1:
            del content[place : place + draw.choice((1, 7, 512))]
        elif how == 2:
            content[place:place] = content[place : place + draw.choice((1, 100, 512))]
        elif how == 3:
            del content[place:]
        elif how == 4:
            content[place : place + 4] = draw.choice((b"\xff" * 4, bytes(4), b"\x00\x00\x00\x80", b'"[{,'))
        else:
            content[place:place] = draw.randbytes(draw.choice((1, 30)))
    return bytes(content)


def spoiled(rows: list[dict[str, Any]], draw: random.Random) -> list[Any]:
    """Rows with values exchanged, at any depth."""
    rows = json.loads(json.dumps(rows))
    for _ in range(draw.choice((1, 2, 5))):
        node: Any = rows
        while True:
            keys = list(range(len(node))) if isinstance(node, list) else list(node)
            if not keys:
                break
            key = draw.choice(keys)
            if isinstance(node[key], list | dict) and node[key] and draw.random() < 0.8:
                node = node[key]
                continue
            node[key] = copy.deepcopy(draw.choice(VALUES))
            break
    return rows


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


# Each kind of damage: what it makes of a random number generator (files, and the number of rows if it is known).
Made = tuple[dict[str, bytes], int | None]
SFT_JSON, RL_JSON = json.dumps(SFT_ROWS).encode(), json.dumps(RL_ROWS).encode()


def values(draw: random.Random) -> Made:
    rows = spoiled(SFT_ROWS + RL_ROWS, draw)
    return {**IMAGES, "rows.jsonl": "".join(json.dumps(row) + "\n" for row in rows).encode()}, len(rows)


def array(draw: random.Random) -> Made:
    return {**IMAGES, "mulberry_sft.json": damaged(SFT_JSON, draw)}, None


def lines(draw: random.Random) -> Made:
    return {**IMAGES, "rows.jsonl": damaged(b"\n".join(json.dumps(row).encode() for row in RL_ROWS), draw)}, None


def tables(draw: random.Random) -> Made:
    return {"rows.parquet": damaged(parquet(struct_rows()), draw)}, None


def images(draw: random.Random) -> Made:
    return {**{name: damaged(data, draw) for name, data in IMAGES.items()}, "mulberry_sft.json": SFT_JSON}, 3


def tars(draw: random.Random) -> Made:
    return {"images.tar": damaged(packed("tar", IMAGES), draw), "mulberry_sft.json": SFT_JSON}, 3


def compressed(draw: random.Random) -> Made:
    kind = draw.choice(("tar.gz", "tar.bz2", "tar.xz", "tar.zst"))
    return {f"images.{kind}": damaged(packed(kind, IMAGES), draw), "rl.json": RL_JSON}, 3


def zips(draw: random.Random) -> Made:
    return {"images.zip": damaged(packed("zip", IMAGES), draw), "mulberry_sft.json": SFT_JSON}, 3


def web(draw: random.Random) -> Made:
    members = {f"{n}.json": json.dumps(row).encode() for n, row in enumerate(RL_ROWS)}
    members |= {f"{n}.png": item.image for n, item in enumerate(ITEMS[:3])}
    return {"rows.tar": damaged(packed("tar", members), draw)}, None


@pytest.mark.slow
@pytest.mark.parametrize(
    "make", [values, array, lines, tables, images, tars, compressed, zips, web], ids=lambda make: make.__name__
)
def test_every_input_ends_in_rows_or_in_one_error(make: Callable[[random.Random], Made], tmp_path: Path) -> None:
    ended = {"rows": 0, "error": 0}
    several_lines = 0
    for number in range(INPUTS):
        files, rows = make(random.Random(f"{make.__name__}/{number}"))
        folder = tmp_path / "source"
        write(folder, files)
        for kind in ("sft", "rl"):
            try:
                metrics = work(Settings(source=str(folder), output=str(tmp_path / "out"), kind=kind))
            except InputError as error:
                ended["error"] += 1
                several_lines += "\n" in str(error)
                continue
            rejected = sum(count for name, count in metrics.items() if name.startswith("rejected/"))
            assert metrics["read"] == metrics["kept"] + rejected, number
            assert rows in {None, metrics["read"]}, number
            ended["rows"] += 1
        shutil.rmtree(folder)
    assert min(ended.values()) > 0, ended
    assert not several_lines
