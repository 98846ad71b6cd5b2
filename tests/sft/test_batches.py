"""Batches: every row once per epoch, the same rows for any number of ranks; long rows are rejected and not cut."""

import io
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch
from PIL import Image

from pebr.data.records import SFT_SCHEMA
from pebr.data.shards import ShardedDataset, ShardWriter
from pebr.errors import InputError
from pebr.sft.batches import Batch, Batches, Example
from pebr.vlm.encoding import Encoder
from pebr.vlm.loading import load_processor

TOO_LONG = 7  # the dataset's row with the very long answer


@pytest.fixture(scope="module")
def encoder(tiny_models: dict[str, Path]) -> Encoder:
    return Encoder(load_processor(tiny_models["qwen2_5_vl"]))


def batches(dataset: Path, encoder: Encoder, rank: int = 0, world_size: int = 1, **changes: int) -> Batches:
    settings = {"batch_size": 10, "max_tokens": 300, "tokens_per_batch": 400, "seed": 0} | changes
    return Batches(ShardedDataset(dataset), encoder, rank=rank, world_size=world_size, **settings)


def numbers(batch: Batch) -> list[int]:
    """The dataset rows in a batch."""
    return sorted({int(number) for row in batch.rows for number in row.segments})


def test_an_epoch_has_every_row_once_in_an_order_of_its_own(sft_dataset: Path, encoder: Encoder) -> None:
    source = batches(sft_dataset, encoder)
    epochs = [[row for step in range(3 * e, 3 * e + 3) for row in source.indices(step)] for e in range(2)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(24))] * 2
    assert epochs[0] != epochs[1]
    assert epochs[0] != [row for step in range(3) for row in batches(sft_dataset, encoder, seed=1).indices(step)]


def test_ranks_share_a_batch_and_agree_on_its_size(sft_dataset: Path, encoder: Encoder) -> None:
    for step in range(3):
        whole = batches(sft_dataset, encoder).batch(step)
        parts = [batches(sft_dataset, encoder, rank, 3).batch(step) for rank in range(3)]
        assert sorted(number for part in parts for number in numbers(part)) == numbers(whole)
        for part in parts:
            assert part[1:] == whole[1:]
        assert whole.answer_tokens == sum(len(row.targets) for part in parts for row in part.rows)


def test_long_rows_are_set_aside_and_not_cut(sft_dataset: Path, encoder: Encoder) -> None:
    made = list(batches(sft_dataset, encoder).run(0, 3))
    assert sum((batch.rejected for batch in made), Counter[str]()) == {"too long": 1}
    assert sorted(number for batch in made for number in numbers(batch)) == [i for i in range(24) if i != TOO_LONG]


def test_targets_are_the_answers_tokens(sft_dataset: Path, encoder: Encoder) -> None:
    dataset = ShardedDataset(sft_dataset)
    for row in batches(sft_dataset, encoder).batch(0).rows:
        for number in row.segments.unique().tolist():
            answer = dataset[number]["messages"][1]["content"]
            assert encoder.decode(row.targets[row.segments == number].tolist()) == answer


def test_reading_ahead_changes_nothing(sft_dataset: Path, encoder: Encoder) -> None:
    source = batches(sft_dataset, encoder)
    for step, batch in zip(range(1, 5), source.run(1, 5), strict=True):
        for found, expected in zip(batch.rows, source.batch(step).rows, strict=True):
            assert torch.equal(found.input_ids, expected.input_ids)
            assert torch.equal(found.pixel_values, expected.pixel_values)


def test_an_error_while_reading_ahead_comes_up(sft_dataset: Path, encoder: Encoder, tmp_path: Path) -> None:
    shutil.copytree(sft_dataset, tmp_path / "data")
    source = batches(tmp_path / "data", encoder)
    for part in (tmp_path / "data").glob("*.parquet"):
        part.unlink()
    with pytest.raises(FileNotFoundError):
        list(source.run(0, 3))


def test_what_cannot_be_asked_is_set_aside_and_a_broken_picture_stops_the_run(
    sft_dataset: Path, encoder: Encoder, tmp_path: Path
) -> None:
    rows = [ShardedDataset(sft_dataset)[index] for index in range(4)]
    rows[0]["messages"] = rows[0]["messages"][:1]
    rows[1]["images"] = []
    rows[2]["images"][0]["bytes"] = b"not an image"
    with ShardWriter(tmp_path / "faulty", SFT_SCHEMA, "sft") as writer:
        for row in rows:
            writer.write(row)
    [batch] = batches(tmp_path / "faulty", encoder).run(0, 1)
    assert batch.rejected == {
        "turns out of order": 1,
        "question cannot be asked": 1,
        "unusable image": 1,
    }
    picture = io.BytesIO()
    Image.effect_noise((112, 112), 50).save(picture, "JPEG")
    rows[3]["images"][0]["bytes"] = picture.getvalue()[:-2000]  # a good header, and pixels cut off
    with ShardWriter(tmp_path / "cut", SFT_SCHEMA, "sft") as writer:
        writer.write(rows[3])
    with pytest.raises(InputError, match=r"row 0: .*: filter the data again"):
        list(batches(tmp_path / "cut", encoder).run(0, 1))


def test_a_conversation_is_trained_on_all_its_answers(sft_dataset: Path, encoder: Encoder, tmp_path: Path) -> None:
    """Each answer after the turns before it, as in one chat."""
    first, second = (ShardedDataset(sft_dataset)[index] for index in (0, 1))
    with ShardWriter(tmp_path / "several", SFT_SCHEMA, "sft") as writer:
        writer.write(first | {"messages": first["messages"] + second["messages"], "images": first["images"] * 2})
    source = batches(tmp_path / "several", encoder, max_tokens=2000, tokens_per_batch=2000)
    texts = [message["content"] for message in first["messages"] + second["messages"]]
    [batch] = source.run(0, 1)
    one, two = source.measure(0)
    assert isinstance(one, Example)
    assert isinstance(two, Example)
    assert (len(one.images), len(two.images)) == (1, 2)
    assert [encoder.decode(example.answer) for example in (one, two)] == texts[1::2]
    prompts = [source.encode(example).prompt for example in (one, two)]
    assert prompts[1].text.startswith(prompts[0].text + texts[1])
    assert batch.answer_tokens == len(one.answer) + len(two.answer) == sum(len(row.targets) for row in batch.rows)
    assert [len(prompt.token_ids) + len(e.answer) for prompt, e in zip(prompts, (one, two), strict=True)] == [
        one.tokens,
        two.tokens,
    ]
    assert batch.tokens == one.tokens + two.tokens


def test_a_conversation_with_an_answer_that_is_too_long_is_set_aside(
    sft_dataset: Path, encoder: Encoder, tmp_path: Path
) -> None:
    row = ShardedDataset(sft_dataset)[0]
    with ShardWriter(tmp_path / "several", SFT_SCHEMA, "sft") as writer:
        writer.write(row | {"messages": row["messages"] * 2, "images": row["images"] * 2})
    assert batches(tmp_path / "several", encoder, max_tokens=100).measure(0) == "too long"
