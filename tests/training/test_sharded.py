"""Sharded directories: any run of elements can be read for any split into ranks; damage is found."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pebr.errors import InputError
from pebr.training.sharded import Run, ShardedTensors, share, write_index, write_shard


def write(directory: Path, tensors: dict[str, torch.Tensor], cuts: dict[str, list[int]], ranks: int) -> None:
    """Write tensors, each split at these elements into one run per rank."""
    for rank in range(ranks):
        runs = []
        for name, tensor in tensors.items():
            edges = [0, *cuts[name], tensor.numel()]
            start, stop = edges[rank], edges[rank + 1]
            runs.append(Run(name, tuple(tensor.shape), start, tensor.reshape(-1)[start:stop]))
        write_shard(directory, rank, ranks, [run for run in runs if len(run.values)], {"rank_state": rank})
    write_index(directory, ranks)


@settings(max_examples=30, deadline=None)
@given(data=st.data(), ranks=st.integers(1, 4), rows=st.integers(1, 9), columns=st.integers(1, 5))
def test_any_run_can_be_read_again(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, ranks: int, rows: int, columns: int
) -> None:
    directory = tmp_path_factory.mktemp("sharded")
    tensors = {"a": torch.randn(rows, columns), "b.c": torch.randn(columns).bfloat16()}
    cuts = {
        name: sorted(data.draw(st.lists(st.integers(0, t.numel()), min_size=ranks - 1, max_size=ranks - 1)))
        for name, t in tensors.items()
    }
    write(directory, tensors, cuts, ranks)
    source = ShardedTensors(directory)
    assert source.damage() == []
    for name, tensor in tensors.items():
        start = data.draw(st.integers(0, tensor.numel()))
        stop = data.draw(st.integers(start, tensor.numel()))
        assert torch.equal(source.read(name, start, stop), tensor.reshape(-1)[start:stop])
        assert torch.equal(torch.cat(list(source.pieces(name, 2))), tensor.reshape(-1))
    source.close()


@given(count=st.integers(0, 50), ranks=st.integers(1, 9))
def test_shares_cover_everything_once(count: int, ranks: int) -> None:
    assert [i for rank in range(ranks) for i in range(count)[share(count, rank, ranks)]] == list(range(count))


def test_a_gap_and_an_overlap_are_reported(tmp_path: Path) -> None:
    values = torch.arange(6.0)
    for start, message in ((4, "elements 3 to 4"), (2, "elements 3 to 2")):
        write_shard(tmp_path, 0, 2, [Run("a", (6,), 0, values[:3])])
        write_shard(tmp_path, 1, 2, [Run("a", (6,), start, values[start:])])
        with pytest.raises(ValueError, match=message):
            write_index(tmp_path, 2)
    write_shard(tmp_path, 1, 2, [Run("a", (6,), 3, values[3:5])])
    with pytest.raises(ValueError, match="the last elements, from 5 on"):
        write_index(tmp_path, 2)


def test_damage_is_found(tmp_path: Path) -> None:
    write(tmp_path, {"a": torch.randn(100)}, {"a": [50]}, 2)
    first, second = sorted(tmp_path.glob("*.safetensors"))
    raw = bytearray(first.read_bytes())
    raw[-1] ^= 1
    first.write_bytes(raw)
    second.write_bytes(second.read_bytes()[:-1])
    damage = ShardedTensors(tmp_path).damage()
    assert "its bytes have changed" in damage[0]
    assert "were written" in damage[1]
    second.unlink()
    assert "not there" in ShardedTensors(tmp_path).damage()[1]


def test_a_missing_index_and_one_of_another_version_are_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not there: give the directory of sharded weights"):
        ShardedTensors(tmp_path)
    (tmp_path / "index.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(InputError, match="format 99, this version reads 1"):
        ShardedTensors(tmp_path)


def test_ranks_states_are_kept(tmp_path: Path) -> None:
    write(tmp_path, {"a": torch.randn(4)}, {"a": [2]}, 2)
    source = ShardedTensors(tmp_path)
    assert [source.rank_state(rank) for rank in range(4)] == [0, 1, 0, 1]
