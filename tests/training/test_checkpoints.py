"""Checkpoints are atomic; the newest complete one is found, the last k are kept, errors of the writer are raised."""

import json
import random
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from pebr.errors import InputError
from pebr.step import launch
from pebr.step.identity import directory_fingerprint, run_name
from pebr.store.contract import AlteredError, NotThereError
from pebr.store.folder import FolderStore
from pebr.training import randomness
from pebr.training.checkpoints import Checkpoints, why_none
from pebr.training.sharded import Run


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


def test_the_last_ones_are_kept_and_the_newest_is_found(place: launch.Place, tmp_path: Path) -> None:
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
        lambda step: (step / "index.json").write_text("{"),
        lambda step: next(step.glob("rank-*.json")).unlink(),
        lambda step: next(step.glob("rank-*.json")).write_text("{}"),
    ],
    ids=["bytes", "file", "unfinished", "cut", "description", "altered description"],
)
def test_an_older_one_is_used_if_the_newest_is_damaged(place: launch.Place, tmp_path: Path, damage) -> None:
    location = str(tmp_path / "run")
    checkpoints = Checkpoints(location, 2, place)
    for step in (1, 2):
        save(checkpoints, step)
    damage(tmp_path / "run" / "step-00000002")
    assert newest(location, place) == 1
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["step-00000001"]  # the damaged one is removed
    save(Checkpoints(location, 2, place), 2)
    assert newest(location, place) == 2


def test_one_of_another_version_is_kept_and_reported(place: launch.Place, tmp_path: Path) -> None:
    save(Checkpoints(str(tmp_path), 2, place), 1)
    index = tmp_path / "step-00000001" / "index.json"
    index.write_text(json.dumps({"format": 99}))
    with pytest.raises(InputError, match="format 99"):
        newest(str(tmp_path), place)
    assert index.exists()


def test_half_deleted_checkpoints_are_removed(place: launch.Place, tmp_path: Path) -> None:
    checkpoints = Checkpoints(str(tmp_path), 3, place)
    for step in (1, 2):
        save(checkpoints, step)
    (tmp_path / "step-00000001" / "index.json").unlink()
    assert newest(str(tmp_path), place) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002"]


def test_the_index_is_stored_after_every_part(place: launch.Place, tmp_path: Path, monkeypatch) -> None:
    """Two ranks on one machine share the local folder, and the upload of the second rank's part is slow."""

    class SlowStore(FolderStore):
        def put(self, local: Path, key: str) -> None:
            time.sleep(0.5 if "rank-00001" in key else 0)
            super().put(local, key)

    store = SlowStore(tmp_path / "bucket")
    monkeypatch.setattr("pebr.training.checkpoints.open_store", lambda _: store)
    first, second = (Checkpoints("s3://bucket", 1, place._replace(rank=rank, world_size=2)) for rank in range(2))
    second._folder = first._folder
    for rank, checkpoints in enumerate((first, second)):
        checkpoints.save(3, [Run("weight", (4,), 2 * rank, torch.ones(2))], {"r": rank}, {"state": {}})
    first.wait()
    assert len(store.list("step-00000003/")) == 5
    second.wait()


def test_files_that_the_store_altered_are_damaged(place: launch.Place, tmp_path: Path, monkeypatch) -> None:
    class RottenStore(FolderStore):
        def get(self, key: str, local: Path) -> None:
            if key.startswith("step-00000002/rank"):
                raise AlteredError(f"{key}: not what was stored")
            super().get(key, local)

    monkeypatch.setattr("pebr.training.checkpoints.open_store", lambda _: RottenStore(tmp_path / "bucket"))
    checkpoints = Checkpoints("s3://bucket", 2, place)
    store = FolderStore(tmp_path / "bucket")
    checkpoints._store = store
    for step in (1, 2):
        save(checkpoints, step)
    assert newest("s3://bucket", place) == 1


def test_an_error_of_the_writer_stops_the_run(place: launch.Place, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    checkpoints = Checkpoints(str(tmp_path / "file"), 2, place)
    checkpoints.save(1, [Run("weight", (1,), 0, torch.zeros(1))], {}, {"state": {}})
    with pytest.raises(NotADirectoryError):
        checkpoints.save(2, [Run("weight", (1,), 0, torch.zeros(1))], {}, {"state": {}})


@pytest.mark.s3
def test_checkpoints_on_s3(place: launch.Place, tmp_path: Path, s3_address: str) -> None:
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


def test_random_numbers_continue_after_a_restore() -> None:
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


HERE = {"learning_rate": 1e-6, "model": "m", "code": {"grpo/loss.py": "1", "grpo/work.py": "1"}}


def of_run(root: Path, facts: dict[str, object], place: launch.Place, resume_from: str = "") -> Checkpoints:
    return Checkpoints(f"{root}/{run_name(facts)}", 2, place, facts, resume_from)


def test_stray_names_among_checkpoints_do_no_harm(place: launch.Place, tmp_path: Path) -> None:
    strays = ["step-old", "step-1", "step-00000001.bak", "step-00000009-copy", "notes"]
    for name in strays:
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "index.json").write_text("{}")
    (tmp_path / "step-").write_text("a file")
    save(Checkpoints(str(tmp_path), 2, place), 1)
    assert newest(str(tmp_path), place) == 1
    assert {path.name for path in tmp_path.iterdir()} == {*strays, "step-", "step-00000001"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"learning_rate": 1e-5}, "learning_rate 1e-05 there, 1e-06 here"),
        ({"model": "other"}, "model 'other' there, 'm' here"),
        ({"code": {"grpo/loss.py": "2", "grpo/work.py": "1"}}, "code of grpo/loss.py"),
        ({"code": {"grpo/work.py": "1"}}, "code of grpo/loss.py"),
        ({"rewards": {"mine.py": "1"}}, "rewards of mine.py"),
    ],
)
def test_it_is_said_why_no_checkpoint_is_taken(
    place: launch.Place, tmp_path: Path, caplog: pytest.LogCaptureFixture, changes: dict[str, object], said: str
) -> None:
    there = HERE | changes
    save(of_run(tmp_path, there, place), 7)
    save(of_run(tmp_path, {"another": "step"}, place), 9)  # of no run like this one
    caplog.set_level("WARNING", "pebr")
    assert of_run(tmp_path, HERE, place).newest() is None
    assert f"{run_name(there)}/step-00000007 is of another run: {said}" in caplog.text
    caplog.clear()
    assert of_run(tmp_path, there, place).newest() is not None
    assert not caplog.text


def test_the_most_similar_run_is_compared(
    place: launch.Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(of_run(tmp_path, HERE | {"learning_rate": 1.0, "model": "x"}, place), 9)
    save(of_run(tmp_path, HERE | {"learning_rate": 2.0}, place), 1)
    of_run(tmp_path, HERE, place).newest()
    assert "is of another run: learning_rate 2.0 there, 1e-06 here; --resume-from takes it knowingly" in caplog.text


def test_an_exchange_of_nodes_beside_the_runs_is_no_run(place: launch.Place, tmp_path: Path) -> None:
    """A launcher that failed leaves it, with the index of the outputs' weights."""
    folder = tmp_path / "pebr-perception-0123456789abcdef-exchange" / "outputs" / "output"
    folder.mkdir(parents=True)
    (folder / "index.json").write_text("{}")
    own = of_run(tmp_path, HERE, place)
    assert own.newest() is None
    assert why_none(own.location, HERE) == ""


def test_a_checkpoint_that_its_run_removes_meanwhile_is_skipped(
    place: launch.Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(of_run(tmp_path, HERE | {"learning_rate": 2.0}, place), 1)

    def get(*_: object) -> None:
        raise NotThereError("gone")

    monkeypatch.setattr(FolderStore, "get", get)
    assert why_none(of_run(tmp_path, HERE, place).location, HERE) == ""


def test_another_runs_checkpoint_under_this_name_is_refused_and_kept(place: launch.Place, tmp_path: Path) -> None:
    other = of_run(tmp_path, HERE | {"learning_rate": 1e-5}, place)
    save(other, 1)
    own = of_run(tmp_path, HERE, place)
    Path(other.location).rename(own.location)
    with pytest.raises(InputError, match=r"another run under the name of this one \(learning_rate 1e-05 there"):
        own.newest()
    assert (Path(own.location) / "step-00000001" / "index.json").is_file()


@pytest.mark.parametrize("name", ["", "/step-00000002", "/step-00000004/"])
def test_another_runs_checkpoint_is_taken_knowingly_and_stays(place: launch.Place, tmp_path: Path, name: str) -> None:
    other = of_run(tmp_path, HERE | {"learning_rate": 1e-5}, place)
    for step in (2, 4):
        save(other, step)
    before = {path: path.read_bytes() for path in Path(other.location).rglob("*") if path.is_file()}
    own = of_run(tmp_path / "here", HERE, place, f"{other.location}{name}")
    found = own.newest()
    step = 2 if "2" in name else 4
    assert found is not None
    assert found.index["step"] == step
    assert own.resumed_from == f"{other.location}/step-{step:08d}"
    save(own, 5)
    again = of_run(tmp_path / "here", HERE, place, f"{other.location}{name}")
    found = again.newest()
    assert found is not None
    assert (found.index["step"], again.resumed_from) == (5, "")  # its own is taken
    assert {path: path.read_bytes() for path in Path(other.location).rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["", "/step-00000003", "/nothing"])
def test_a_place_without_a_checkpoint_to_take_is_refused(place: launch.Place, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"--resume-from .*: no complete checkpoint"):
        of_run(tmp_path / "here", HERE, place, f"{tmp_path}/there{name}").newest()
