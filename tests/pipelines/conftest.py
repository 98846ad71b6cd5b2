"""Small real pipelines: components that run Python one-liners, compiled by the SDK as the real DAG is."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kfp import dsl
from kfp.compiler import Compiler

ROOT = Path(__file__).parents[2]

# Appends "name start" and "name end" to the file that TRACE names, so that tests see what ran, when.
NOTE = "import os, sys, time, json, pathlib; t = open(os.environ['TRACE'], 'a'); "


@dsl.container_component
def make(output: dsl.Output[dsl.Dataset], text: str, seconds: float = 0.0):
    """Write `text` to `output`, after a sleep."""
    return dsl.ContainerSpec(
        image="none",
        command=["python", "-c"],
        args=[
            NOTE + "t.write(f'{sys.argv[2]} start\\n'); t.flush(); time.sleep(float(sys.argv[3]));"
            "pathlib.Path(sys.argv[1]).write_text(sys.argv[2]); t.write(f'{sys.argv[2]} end\\n')",
            output.path,
            text,
            seconds,
        ],
    )


@dsl.container_component
def join(left: dsl.Input[dsl.Dataset], right: dsl.Input[dsl.Dataset], output: dsl.Output[dsl.Dataset], sign: str = "+"):
    """Write both inputs, with a sign between them, to `output`."""
    return dsl.ContainerSpec(
        image="none",
        command=["python", "-c"],
        args=[
            NOTE + "a, b = (pathlib.Path(p).read_text() for p in sys.argv[1:3]); text = a + sys.argv[4] + b;"
            "t.write(f'{text} start\\n{text} end\\n'); pathlib.Path(sys.argv[3]).write_text(text)",
            left.path,
            right.path,
            output.path,
            sign,
        ],
    )


@dsl.container_component
def shell(output: dsl.Output[dsl.Dataset], script: str):
    """Run a shell script; $1 is the output's path."""
    return dsl.ContainerSpec(image="none", command=["sh", "-c"], args=[script, "sh", output.path])


class Runner:
    """Runs compiled pipelines in a folder, each run a process; has the components to make them of."""

    make, join, shell = make, join, shell

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trace = folder / "trace"
        self.environment: dict[str, str] = {}
        self.recipe = folder / "plain.yaml"
        self.recipe.write_text("parameters: {}\n")

    def compile(self, pipeline: Callable) -> Path:
        path = self.folder / f"{pipeline.name}.yaml"
        Compiler().compile(pipeline, str(path))
        return path

    def start(self, pipeline: Path, *arguments: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "pipelines.run", "--recipe", str(self.recipe), "--pipeline", str(pipeline)]
        command += ["--work", str(self.folder / "work"), *arguments]
        environment = {"TRACE": str(self.trace), "PATH": "/usr/bin:/bin"} | self.environment
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip

    def run(self, pipeline: Path, *arguments: str) -> subprocess.CompletedProcess:
        process = self.start(pipeline, *arguments)
        out, error = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, out, error)

    def traced(self) -> list[str]:
        """What the steps have noted, in order; what was noted before is forgotten."""
        lines = self.trace.read_text().splitlines() if self.trace.exists() else []
        self.trace.unlink(missing_ok=True)
        return lines

    def states(self) -> dict[str, str]:
        told = json.loads((self.folder / "work" / "run.json").read_text())
        return {step["step"]: step["state"] for step in told["steps"]}

    def statuses(self) -> dict[str, dict]:
        told = json.loads((self.folder / "work" / "run.json").read_text())
        return {step["step"]: step for step in told["steps"]}

    def text(self, step: str, output: str = "output") -> str:
        """An output of a step, as text."""
        status = self.statuses()[step]
        return (self.folder / "work" / "artifacts" / step / status["key"] / output).read_text()


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KB."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "none", str(place)], check=False)
    if done.returncode:
        pytest.skip("no right to mount a file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)
