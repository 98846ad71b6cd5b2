"""A step that says 0 has made its outputs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pytest

from pebr.data.shards import ShardWriter
from pebr.errors import InputError
from pebr.step.command import main
from pebr.step.outputs import OutputError, check_outputs, check_places
from pebr.step.settings import Input, Output, StepSettings


@dataclass(frozen=True, kw_only=True)
class Settings(StepSettings):
    """A step with two datasets and a file."""

    easy: Annotated[str, Output("Dataset"), "A dataset."]
    hard: Annotated[str, Output("Dataset"), "Another dataset."]
    history: Annotated[str, Output(), "A file."]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(**{name: str(tmp_path / name) for name in ("easy", "hard", "history")})


def write(settings: Settings, easy: int = 3, hard: int = 0, history: str = "{}\n") -> None:
    for path, rows in ((settings.easy, easy), (settings.hard, hard)):
        with ShardWriter(path, pa.schema({"qid": pa.string()}), "rl", rows_per_shard=2) as writer:
            for row in range(rows):
                writer.write({"qid": str(row)})
            writer.reject({"qid": "x"}, "image missing")
    Path(settings.history).write_text(history)


def manifest(change: dict[str, object]) -> Callable[[Path], object]:
    def spoil(root: Path) -> None:
        path = root / "easy" / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))

    return spoil


def shard_of_another(root: Path) -> None:
    (root / "easy" / "part-00000.parquet").write_bytes((root / "easy" / "part-00001.parquet").read_bytes())


def test_complete_outputs_are_right_and_one_of_several_datasets_may_be_empty(settings: Settings) -> None:
    write(settings)
    check_outputs(settings)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda root: (root / "history").unlink(), "--history .*: the step ended without writing it"),
        (lambda root: (root / "history").write_text(""), "--history .*: the step ended, but it is empty"),
        (
            lambda root: (root / "easy" / "part-00001.parquet").unlink(),
            "part-00001.parquet: not there, but in manifest",
        ),
        (shard_of_another, "part-00000.parquet: 1 rows, 2 in manifest.json"),
        (manifest({"rows": 4}), "manifest.json: 4 rows in all, but other sums"),
        (lambda root: (root / "easy").rename(root / "elsewhere"), "--easy .*: the step ended without writing it"),
    ],
)
def test_what_is_missing_is_named(
    settings: Settings, tmp_path: Path, spoil: Callable[[Path], object], said: str
) -> None:
    write(settings)
    spoil(tmp_path)
    with pytest.raises(OutputError, match=said):
        check_outputs(settings)


def test_datasets_without_any_row_are_a_wrong_input(settings: Settings) -> None:
    write(settings, easy=0)
    with pytest.raises(InputError, match=r"easy: no row is left \(1 image missing\)"):
        check_outputs(settings)


@pytest.mark.parametrize("code", [0, None, 2, 75])
def test_code_that_leaves_a_step_is_a_failure_whatever_its_code(
    settings: Settings, code: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(_: Settings) -> dict[str, float]:
        write(settings)  # even with all outputs the step is not done
        sys.exit(code)

    with pytest.raises(RuntimeError, match=rf"sys.exit\({code!r}\) was called inside the step"):
        main(Settings, work, [word for name, value in vars(settings).items() if value for word in (f"--{name}", value)])


SCRIPT = """
import sys
from dataclasses import dataclass
from typing import Annotated
from pebr.step import launch
from pebr.step.command import main
from pebr.step.settings import Input, Output, StepSettings

@dataclass(frozen=True, kw_only=True)
class Settings(StepSettings):
    '''A step of two ranks.'''
    output: Annotated[str, Output(), "A file."]

def work(settings):
    launch.relaunch_with_processes("two_ranks", 2)
    if "write" in settings.output:
        open(settings.output, "w").write("done")
    return {}

main(Settings, work)
"""


@pytest.mark.parametrize(("name", "code"), [("write", 0), ("nothing", 1)])
def test_the_outputs_of_ranks_are_checked_too(tmp_path: Path, name: str, code: int) -> None:
    (tmp_path / "two_ranks.py").write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-m", "two_ranks", "--output", str(tmp_path / name)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert ("the step ended without writing it" in done.stderr) == (code == 1)


HOLD = """
import sys
from dataclasses import dataclass
from typing import Annotated
from pebr.step.command import main
from pebr.step.settings import Input, Output, StepSettings

@dataclass(frozen=True, kw_only=True)
class Settings(StepSettings):
    '''A step.'''
    output: Annotated[str, Output(), "A file."]

def work(settings):
    print("working", flush=True)
    sys.stdin.read()
    open(settings.output, "w").write("done")
    return {}

main(Settings, work)
"""


def hold(output: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, "--output", str(output)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_second_process_on_one_output_is_refused(tmp_path: Path) -> None:
    first = hold(tmp_path / "out")
    assert first.stdout is not None
    assert first.stdout.readline() == "working\n"
    second = hold(tmp_path / "out")
    _, said = second.communicate("")
    assert second.returncode == 2
    assert f"--output {tmp_path / 'out'}: another process is writing it" in said
    elsewhere = hold(tmp_path / "other")
    elsewhere.communicate("")
    assert elsewhere.returncode == 0
    first.communicate("")
    assert first.returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "out"]


def test_an_output_whose_writer_was_killed_is_free(tmp_path: Path) -> None:
    first = hold(tmp_path / "out")
    assert first.stdout is not None
    assert first.stdout.readline() == "working\n"
    first.kill()
    first.wait()
    again = hold(tmp_path / "out")
    again.communicate("")
    assert again.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@dataclass(frozen=True, kw_only=True)
class Reading(StepSettings):
    """A step that reads a folder and a model, and writes a dataset."""

    source: Annotated[str, Input(), "A folder."]
    model: Annotated[str, Input("Model"), "A model."] = ""
    output: Annotated[str, Output("Dataset"), "A dataset."]


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("home/raw", "would replace what --source"),
        ("home", "would replace what --source"),
        ("home/raw/out", "lies in what --source"),
        ("model", "would replace what --model"),
        ("mine", "holds files that no step has written"),
        ("precious.txt", "a file is there"),
    ],
)
def test_an_output_replaces_neither_inputs_nor_foreign_files(tmp_path: Path, output: str, said: str) -> None:
    for name in ("home/raw/a.json", "mine/thesis.tex", "model/config.json", "precious.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    paths = {"source": "home/raw", "model": "model", "output": output}
    settings = Reading(**{name: str(tmp_path / path) for name, path in paths.items()})
    with pytest.raises(InputError, match=said):
        check_places(settings)


def test_a_step_may_replace_its_own_output_or_an_empty_folder(settings: Settings, tmp_path: Path) -> None:
    check_places(settings)
    write(settings)
    check_places(settings)
    (tmp_path / "new").mkdir()
    check_places(Reading(source=settings.easy, output=str(tmp_path / "new")))
