"""A small SFT dataset, in the form that `filter` writes."""

from pathlib import Path

import pytest

from pebr.data.records import SFT_SCHEMA
from pebr.data.shards import ShardWriter


@pytest.fixture(scope="session")
def sft_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 rows of the tiny world: one with two images, one without images, one with a very long answer."""
    from pebr.toy.formats import png
    from pebr.toy.world import questions

    directory = tmp_path_factory.mktemp("data") / "sft"
    with ShardWriter(directory, SFT_SCHEMA, "sft", rows_per_shard=10) as writer:
        for index, question in enumerate(questions(seed=1, rows=24, split="sft")):
            problem, answer, images = question.problem, question.response, [png(question.image)]
            if index == 3:
                problem, images = "<image>" + problem, images * 2
            if index == 5:
                problem, images = problem.replace("<image>", ""), []
            if index == 7:
                answer *= 40
            writer.write(
                {
                    "qid": str(index),
                    "messages": [{"role": "user", "content": problem}, {"role": "assistant", "content": answer}],
                    "images": [{"bytes": data, "path": f"{index}.png"} for data in images],
                }
            )
    return directory
