"""Checkpoints: whole or not there, the newest whole one is found, the last k stay, errors of the writer come up."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from pebr.training import launch, randomness
from pebr.training.checkpoints import Checkpoints
from pebr.training.fingerprint import directory_fingerprint, run_name
from pebr.training.shards import Run


@pytest.fixture
def place() -> launch.Place:
    return launch.join()


def save(checkpoints: Checkpoints, step: int) -> None:
    checkpoints.save(step, [Run("weight", (4,), 0, torch.full((4,), float(step)))], {"r": step}, {"state": {"s": step}})
    checkpoints.wait()


def newest(location: str, place: launch.Place) -> int | None:
    found = Checkpoints(location, 2, place).newest()
    if found is None:
        return None
    step = found.index["step"]
    assert found.read("weight", 0, 4).tolist() == [float(step)] * 4
    assert found.rank_state(0) == {"r": step}
    assert found.index["state"] == {"s": step}
    return int(step)


def test_the_last_ones_stay_and_the_newest_is_found(place: launch.Place, tmp_path: Path) -> None:
    location = str(tmp_path / "run")
    assert newest(location, place) is None
    checkpoints = Checkpoints(location, 2, place)
    for step in (1, 2, 10):
        save(checkpoints, step)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["step-00000002", "step-00000010"]
    assert newest(f"file://{location}", place) == 10


def damage_bytes(step: Path) -> None:
    [file] = step.glob("*.safetensors")
    raw = bytearray(file.read_bytes())
    raw[-3] ^= 1
    file.write_bytes(raw)


@pytest.mark.parametrize(
    "damage",
    [
        damage_bytes,
        lambda step: next(step.glob("*.safetensors")).unlink(),
        lambda step: (step / "index.json").unlink(),
        lambda step: (step / "index.json").write_text(json.dumps({"format": 99})),
        lambda step: (step / "index.json").write_text("{"),
    ],
    ids=["bytes", "file", "unfinished", "format", "cut"],
)
def test_a_damaged_one_gives_way_to_the_one_before(place: launch.Place, tmp_path: Path, damage) -> None:
    location = str(tmp_path / "run")
    checkpoints = Checkpoints(location, 2, place)
    for step in (1, 2):
        save(checkpoints, step)
    damage(tmp_path / "run" / "step-00000002")
    assert newest(location, place) == 1
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["step-00000001"]  # nothing stale is left
    save(Checkpoints(location, 2, place), 2)
    assert newest(location, place) == 2


def test_an_error_of_the_writer_stops_the_run(place: launch.Place, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    checkpoints = Checkpoints(str(tmp_path / "file"), 2, place)
    checkpoints.save(1, [Run("weight", (1,), 0, torch.zeros(1))], {}, {"state": {}})
    with pytest.raises(NotADirectoryError):
        checkpoints.save(2, [Run("weight", (1,), 0, torch.zeros(1))], {}, {"state": {}})


@pytest.mark.s3
def test_it_is_the_same_on_s3(place: launch.Place, tmp_path: Path, s3_address: str) -> None:
    location = f"s3://pebr/{tmp_path.name}"
    assert newest(location, place) is None
    checkpoints = Checkpoints(location, 2, place)
    for step in (1, 2, 10):
        save(checkpoints, step)
    checkpoints.close()
    assert newest(location, place) == 10
    store = checkpoints._store
    assert store is not None
    assert {key.split("/")[0] for key in store.list("")} == {"step-00000002", "step-00000010"}
    store.delete_prefix("step-00000010/index.json")
    assert newest(location, place) == 2
    assert {key.split("/")[0] for key in store.list("")} == {"step-00000002"}


def test_random_numbers_go_on_where_they_were() -> None:
    def draw() -> list[float]:
        return [random.gauss(0, 1), random.random(), float(np.random.normal()), torch.randn(1).item()]

    randomness.seed_everything(3)
    draw()
    state = json.loads(json.dumps(randomness.capture()))
    expected = [draw() for _ in range(3)]
    randomness.restore(state)
    assert [draw() for _ in range(3)] == expected


def test_a_run_is_named_by_what_it_depends_on(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(bytes(3_000_000))
    before = directory_fingerprint(tmp_path)
    assert directory_fingerprint(tmp_path) == before
    assert run_name({"a": 1, "b": before}) == run_name({"b": before, "a": 1}) != run_name({"a": 2, "b": before})
    for place in (0, -1):
        raw = bytearray(3_000_000)
        raw[place] = 1
        (tmp_path / "model.safetensors").write_bytes(raw)
        assert directory_fingerprint(tmp_path) != before
