"""The command `python -m pebr.merge`."""

from pathlib import Path

import pytest

from pebr.errors import InputError
from pebr.merge.settings import Settings
from pebr.merge.work import work
from pebr.training.sharded import Run, write_index, write_shard
from pebr.vlm.loading import load_model


@pytest.fixture
def sharded(tiny_models: dict[str, Path], tmp_path: Path) -> Path:
    model = load_model(tiny_models["qwen2_5_vl"])
    runs = [Run(name, tuple(v.shape), 0, v.detach().reshape(-1)) for name, v in model.named_parameters()]
    write_shard(tmp_path / "sharded", 0, 1, runs)
    write_index(tmp_path / "sharded", 1)
    return tmp_path / "sharded"


def test_it_reports_what_it_has_written(sharded: Path, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    metrics = work(
        Settings(
            checkpoint=str(sharded),
            model=str(tiny_models["qwen2_5_vl"]),
            output=str(tmp_path / "output"),
            dtype="bfloat16",
        )
    )
    model = load_model(tmp_path / "output")
    assert metrics["bytes"] == sum(2 * value.numel() for value in model.parameters())


def test_damaged_shards_are_refused(sharded: Path, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    [path] = sharded.glob("*.safetensors")
    raw = bytearray(path.read_bytes())
    raw[-5] ^= 8
    path.write_bytes(raw)
    with pytest.raises(InputError, match="its bytes have changed"):
        work(Settings(checkpoint=str(sharded), model=str(tiny_models["qwen2_5_vl"]), output=str(tmp_path / "output")))
    assert not (tmp_path / "output").exists()


def test_a_size_that_is_none_is_refused(sharded: Path, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--max-shard-bytes 0"):
        work(
            Settings(
                checkpoint=str(sharded),
                model=str(tiny_models["qwen2_5_vl"]),
                output=str(tmp_path / "output"),
                max_shard_bytes=0,
            )
        )
