"""A tiny model and RL datasets with and without faults."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pebr.data.records import RL_SCHEMA
from pebr.data.shards import ShardWriter
from pebr.toy.formats import png
from pebr.toy.vlm import build_model
from pebr.toy.world import questions


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return build_model(tmp_path_factory.mktemp("model"), 0, width=64, layers=2, vision_width=64)


def rl_rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "qid": question.qid,
            "problem": question.problem,
            "answer": question.answer,
            "key_words": list(question.key_words),
            "images": [{"bytes": png(question.image), "path": f"{question.qid}.png"}],
            "extra": json.dumps({"kind": question.kind}),
        }
        for question in questions(0, count, "rl")
    ]


@pytest.fixture(scope="session")
def write_dataset(tmp_path_factory: pytest.TempPathFactory) -> Any:
    def write(rows: list[dict[str, Any]], kind: str = "rl") -> Path:
        directory = tmp_path_factory.mktemp("rl")
        with ShardWriter(directory, RL_SCHEMA, kind, rows_per_shard=7) as writer:
            for row in rows:
                writer.write(row)
        return directory

    return write


@pytest.fixture(scope="session")
def dataset(write_dataset: Any) -> Path:
    return write_dataset(rl_rows(20))


@pytest.fixture(scope="session")
def make_rows() -> Any:
    return rl_rows
