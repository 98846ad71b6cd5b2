"""The key of a step depends on everything that its outputs depend on, and nothing else; artifacts and their store."""

import dataclasses
import gc
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pebr.data.archives import open_archives
from pebr.errors import InputError
from pebr.store.contract import StoreError
from pebr.store.folder import FolderStore
from pipelines.compile import COMPILED
from pipelines.ir.plan import Step
from pipelines.ir.reader import Pipeline
from pipelines.local import step_key as keys
from pipelines.local.artifacts import Artifacts, Status, digest, size
from pipelines.local.execution import collect
from pipelines.local.step_key import code_digest, step_key

FILES = {
    "__init__.py": "",
    "step.py": "import json\n",
    "sft/__init__.py": "",
    "sft/__main__.py": "from pebr.sft.work import run\nfrom pebr.step import main\n",
    "sft/work.py": "def run():\n    from pebr.training import engine\n    START = 'pebr.training.worker'\n",
    "sft/table.jinja": "a",
    "sft/component.py": "import kfp\n",
    "training/__init__.py": "import pebr.data\n",
    "training/engine.py": "import torch\n",
    "training/worker.py": "",
    "data/__init__.py": "",
    "evaluate/__init__.py": "",
    "evaluate/__main__.py": "import pebr.step\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(keys, "PACKAGE", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_step_depends_on_the_code_that_it_runs_and_on_no_other(package: Path, name: str) -> None:
    before = code_digest("pebr.sft")
    (package / name).write_text(FILES[name] + "# changed\n")
    unused = name.startswith("evaluate/") or name == "sft/component.py"
    assert (code_digest("pebr.sft") == before) == unused


def test_a_source_that_cannot_be_read_is_named(package: Path) -> None:
    (package / "training" / "engine.py").write_text("import torch\nsteps = (\n")
    with pytest.raises(InputError, match=r"training/engine.py, line 2: .* never closed: fix it"):
        code_digest("pebr.sft")


def test_real_steps_depend_on_their_rooms() -> None:
    closure = {path.relative_to(keys.PACKAGE).as_posix() for path in files_of("pebr.grpo")}
    assert {
        "grpo/trainer.py",
        "rewards/stages.py",
        "training/engine.py",
        "sampling/start.py",
        "step/command.py",
    } <= closure
    assert not {path for path in closure if path.startswith(("sft/", "report/", "evaluate/"))}


def files_of(module: str) -> set[Path]:
    """The files that a code digest reads."""
    seen: set[Path] = set()
    real = keys.digest

    def spy(path: Path) -> str:
        seen.add(path)
        return real(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "digest", spy)
        code_digest(module)
    return seen


class Yielding:
    """An object whose collection as garbage lets other threads run."""

    def __init__(self):
        self.itself = self

    def __del__(self):
        time.sleep(0)


def test_steps_that_start_at_once_read_the_sources_side_by_side():
    threshold = gc.get_threshold()
    gc.set_threshold(50)
    stop = threading.Event()

    def litter():
        while not stop.is_set():
            Yielding()
            time.sleep(0)

    modules = [f"pebr.{step}" for step in ("filter", "merge", "split", "ingest")]
    litterer = threading.Thread(target=litter)
    litterer.start()
    try:
        with ThreadPoolExecutor() as pool:
            digests = list(pool.map(code_digest, modules))
    finally:
        stop.set()
        litterer.join()
        gc.set_threshold(*threshold)
    assert digests == [code_digest(module) for module in modules]


@pytest.fixture
def sft() -> Step:
    return next(step for step in Pipeline(COMPILED / "pebr_r1.yaml").plan({}) if step.module == "pebr.sft")


def test_the_key_follows_command_parameters_and_inputs(sft: Step) -> None:
    key = step_key(sft, {"seed": 0}, {"model": "a"})
    assert step_key(sft, {"seed": 0}, {"model": "a"}) == key
    assert step_key(sft, {"seed": 1}, {"model": "a"}) != key
    assert step_key(sft, {"seed": 0}, {"model": "b"}) != key
    assert step_key(sft, {"seed": 0}, {"dataset": "a"}) != key
    assert step_key(dataclasses.replace(sft, command=(*sft.command, "--more")), {"seed": 0}, {"model": "a"}) != key


def test_the_key_follows_only_inputs_that_are_read() -> None:
    grpo = next(step for step in Pipeline(COMPILED / "pebr_r1.yaml").plan({}) if step.module == "pebr.grpo")
    for name, changes in (("", False), ("toy", True)):
        one, other = ({"dataset": "a", "benchmarks": made} for made in "bc")
        keys = {step_key(grpo, {"validate_on": name}, inputs) for inputs in (one, other)}
        assert (len(keys) == 2) == changes


def test_the_key_follows_the_source_of_custom_rewards(sft: Step, tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text("import helper\n")
    (tmp_path / "helper.py").write_text("")
    (tmp_path / "other.py").write_text("")
    parameters = {"reward": f"{plugin}:f=0.1"}
    key = step_key(sft, parameters, {"model": "a"})
    for name, changes in (("other.py", False), ("helper.py", True), ("mine.py", True)):
        before = key
        (tmp_path / name).write_text((tmp_path / name).read_text() + "# changed\n")
        key = step_key(sft, parameters, {"model": "a"})
        assert (key != before) == changes


def test_the_key_does_not_follow_what_cannot_change_the_output(sft: Step) -> None:
    key = step_key(sft, {"seed": 0}, {"model": "a"})
    other = dataclasses.replace(sft, id="other", title="Other", resources={}, timeout=1.0, after=frozenset())
    assert step_key(other, {"seed": 0}, {"model": "a"}) == key


def test_a_folders_digest_follows_names_and_contents(tmp_path: Path) -> None:
    def write(**files: str) -> str:
        folder = tmp_path / "-".join(f"{k}{v}" for k, v in files.items())
        (folder / "inner").mkdir(parents=True)
        for name, text in files.items():
            (folder / "inner" / name).write_text(text)
        return digest(folder)

    assert write(a="1", b="2") == write(b="2", a="1")
    assert len({write(a="x"), write(b="x"), write(a="y"), write(a="x", c="")}) == 4


class Breaking(FolderStore):
    """A store whose upload number `at` fails, once."""

    def __init__(self, root: Path, at: int) -> None:
        super().__init__(root)
        self.left = at

    def put(self, local: Path, key: str) -> None:
        self.left -= 1
        if self.left == -1:
            raise StoreError("the store is down")
        super().put(local, key)


@pytest.mark.parametrize("at", [0, 1])
def test_a_step_is_done_here_when_the_store_has_all_of_it_and_not_before(tmp_path: Path, at: int) -> None:
    artifacts = Artifacts(tmp_path / "here")
    artifacts.remote = Breaking(tmp_path / "remote", at)
    folder = artifacts.folder("step", "key")
    folder.mkdir(parents=True)
    (folder / "output").write_text("made")
    (folder / "checkpoint").write_text("kept until the end")
    status = Status("step", "Step", key="key", artifacts={"output": {"digest": "", "bytes": 4}})
    with pytest.raises(StoreError):
        artifacts.keep(status)
    assert artifacts.find("step", "key") is None
    assert (folder / "checkpoint").exists()
    artifacts.keep(status)
    elsewhere = Artifacts(tmp_path / "elsewhere")
    elsewhere.remote = FolderStore(tmp_path / "remote")
    found = elsewhere.find("step", "key")
    assert found == artifacts.find("step", "key") == status
    assert elsewhere.path(status, "output").read_text() == "made"
    assert not (folder / "checkpoint").exists()


def test_the_index_that_a_reader_leaves_in_an_artifact_does_not_undo_it(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path)
    output = artifacts.folder("ingest", "k") / "output"
    output.mkdir(parents=True)
    with tarfile.open(output / "images.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("a.png"))
    before = digest(output)
    artifacts.keep(Status("ingest", "Ingest", key="k", artifacts={"output": {"digest": before, "bytes": size(output)}}))
    assert open_archives([output / "images.tar"])[0].names()
    assert len(list(output.iterdir())) == 2
    assert digest(output) == before
    assert artifacts.find("ingest", "k") is not None


def kept_remotely(folder: Path) -> Artifacts:
    """Artifacts in `here` with a finished step, whose output is also in the store `remote`."""
    artifacts = Artifacts(folder / "here")
    artifacts.remote = FolderStore(folder / "remote")
    output = artifacts.folder("step", "key") / "output"
    output.mkdir(parents=True)
    (output / "weights").write_text("made")
    artifacts.keep(Status("step", "Step", key="key", artifacts={"output": {"digest": "", "bytes": 4}}))
    return artifacts


def test_a_copy_that_was_cut_off_here_is_fetched_again(tmp_path: Path) -> None:
    artifacts = kept_remotely(tmp_path)
    (artifacts.folder("step", "key") / "output" / "weights").write_text("ma")
    found = artifacts.find("step", "key")
    assert found
    assert (artifacts.path(found, "output") / "weights").read_text() == "made"


def test_a_step_whose_output_was_removed_from_the_store_is_not_done(tmp_path: Path) -> None:
    """`--keep` removes the models of old versions, and leaves the status beside them."""
    kept_remotely(tmp_path)
    elsewhere = Artifacts(tmp_path / "elsewhere")
    elsewhere.remote = FolderStore(tmp_path / "remote")
    assert elsewhere.find("step", "key")
    elsewhere.remote.delete_prefix("step/key/output/")
    assert elsewhere.find("step", "key") is None


def test_a_status_can_be_written_down_while_what_a_step_has_made_is_taken_in(tmp_path: Path, sft: Step) -> None:
    names = [f"output-{i}" for i in range(500)]
    for name in names:
        (tmp_path / name).write_text(name)
    step = dataclasses.replace(sft, parameter_outputs={}, artifact_outputs=dict.fromkeys(names, "system.Artifact"))
    status = Status(step.id, step.title)
    taking = threading.Thread(target=collect, args=(step, status, tmp_path))
    taking.start()
    seen = set()
    while taking.is_alive():
        seen.add(len(dataclasses.asdict(status)["artifacts"]))
    taking.join()
    assert seen <= {0, 500}
    assert len(status.artifacts) == 500
