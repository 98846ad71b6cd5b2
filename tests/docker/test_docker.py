"""Steps in containers: their command line, and small pipelines on a real Docker Engine."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kfp import dsl
from kfp.compiler import Compiler

from pipelines.ir.plan import Step
from pipelines.ir.reader import Pipeline
from pipelines.local.docker import GUARD, Docker

ROOT = Path(__file__).parents[2]
IMAGE = os.environ.get("PEBR_TEST_IMAGE", "pebr:latest")


def image_or_skip() -> None:
    """Skip if there is no engine or no image."""
    if shutil.which("docker"):
        found = subprocess.run(["docker", "images", "--quiet", IMAGE], capture_output=True, text=True, check=False)
        if found.returncode == 0 and found.stdout:
            return
    pytest.skip(f"needs a Docker Engine and {IMAGE}: make docker")


@dsl.container_component
def shell(output: dsl.Output[dsl.Dataset], script: str):
    """Run a shell script; $1 is the output's path."""
    return dsl.ContainerSpec(image=IMAGE, command=["sh", "-c"], args=[script, "sh", output.path])


def compiled(folder: Path, script: str) -> Path:
    @dsl.pipeline(name="contained")
    def pipeline():
        shell(script=script).set_memory_limit("1G").set_display_name("Only")

    Compiler().compile(pipeline, str(folder / "pipeline.yaml"))
    return folder / "pipeline.yaml"


def step(folder: Path) -> Step:
    return Pipeline(compiled(folder, "true")).plan({})[0]


def test_a_container_has_no_rights_and_sees_its_own_files_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
    given, data, folder = tmp_path / "given", tmp_path / "data", tmp_path / "own"
    for path in (given, data, folder):
        path.mkdir()
    words = ["python", "-m", "pebr.ingest", "--source", str(data), "--output", str(folder / "output")]
    command = Docker("an-image", "a-network").command(step(tmp_path), words, folder, [given], {"OMP_NUM_THREADS": "2"})
    text = " ".join(command)
    for part in ("--read-only", "--cap-drop ALL", "no-new-privileges", "--network a-network", "--memory 1000000000"):
        assert part in text
    user = int(command[command.index("--user") + 1].split(":")[0])
    assert user != 0
    volumes = [word for before, word in itertools.pairwise(command) if before == "--volume"]
    assert volumes == [f"{folder}:{folder}", f"{data}:{data}:ro", f"{given}:{given}:ro"]
    assert "a secret" not in text
    assert "--env AWS_SECRET_ACCESS_KEY " in text
    assert "--env OMP_NUM_THREADS=2" in text
    assert command[command.index("an-image") :] == ["an-image", "python", "-I", "-S", GUARD, *words]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen]]:
    """Start the runner on a script in a container; needs an engine and the image."""
    image_or_skip()
    recipe = tmp_path / "plain.yaml"
    recipe.write_text("parameters: {}\n")
    work = tmp_path / f"work-{os.getpid()}"
    processes = []

    def begin(script: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "pipelines.run", "--recipe", str(recipe), "--work", str(work)]
        command += ["--pipeline", str(compiled(tmp_path, script)), "--docker", IMAGE]
        processes.append(
            subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        )
        return processes[-1]

    begin.work = work  # type: ignore[attr-defined]
    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def containers(work: Path) -> list[str]:
    """Containers that have a folder of this run as a volume."""
    listed = subprocess.run(
        ["docker", "ps", "--quiet", "--no-trunc"], capture_output=True, text=True, check=True
    ).stdout.split()
    inspected = (
        subprocess.run(["docker", "inspect", *listed], capture_output=True, text=True, check=False) if listed else None
    )
    return listed if inspected and str(work) in inspected.stdout else []


def until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)


@pytest.mark.docker
def test_a_step_runs_as_a_cluster_would_run_it(start: Callable[[str], subprocess.Popen]) -> None:
    process = start(
        "set -e; id -u > $1; touch /tmp/x; ! touch /x 2> /dev/null; ls /sys/class/net >> $1; "
        "grep -i -E 'CapEff|NoNewPrivs' /proc/self/status >> $1; printenv HOME >> $1"
    )
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out
    (output,) = start.work.glob("artifacts/only/*/output")  # type: ignore[attr-defined]
    user, network, capabilities, privileges, home = output.read_text().splitlines()
    assert user != "0"
    assert network == "lo"
    assert capabilities.split() == ["CapEff:", "0000000000000000"]
    assert privileges.split() == ["NoNewPrivs:", "1"]
    assert home.startswith("/tmp/")


@pytest.mark.docker
def test_a_runner_that_is_killed_leaves_no_container(start: Callable[[str], subprocess.Popen]) -> None:
    process = start("sleep 600")
    until(lambda: bool(containers(start.work)))  # type: ignore[attr-defined]
    process.kill()
    until(lambda: not containers(start.work))  # type: ignore[attr-defined]


@pytest.mark.docker
def test_sigterm_reaches_the_step(start: Callable[[str], subprocess.Popen]) -> None:
    process = start("trap 'echo stopped > $1.note; exit 75' TERM; touch $1.ready; while :; do sleep 0.1; done")
    until(lambda: bool(list(start.work.glob("artifacts/only/*/output.ready"))))  # type: ignore[attr-defined]
    process.terminate()
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 143, out
    assert list(start.work.glob("artifacts/only/*/output.note"))  # type: ignore[attr-defined]


@pytest.mark.docker
def test_a_wrong_input_is_told_apart(start: Callable[[str], subprocess.Popen]) -> None:
    process = start("echo fix it; exit 2")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "step only: fix it" in out


@pytest.mark.docker
def test_the_image_knows_its_commit_and_the_job_that_it_may_submit() -> None:
    image_or_skip()
    listing = subprocess.run(["docker", "inspect", IMAGE], capture_output=True, text=True, check=True).stdout
    config = json.loads(listing)[0]["Config"]
    labels = {key.rpartition(".")[2]: value for key, value in config["Labels"].items()}
    assert labels["licenses"] == "Apache-2.0"
    assert labels["version"]
    assert labels["revision"]
    assert f"PEBR_REVISION={labels['revision']}" in config["Env"]
    code = "from pipelines.targets.job import MANIFEST; print(MANIFEST.read_text())"
    command = ["docker", "run", "--rm", "--network", "none", IMAGE, "python", "-c", code]
    assert "name: pebr-run" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.docker
@pytest.mark.e2e
@pytest.mark.timeout(7200)
def test_the_tiny_world_in_containers_is_the_tiny_world() -> None:
    image_or_skip()
    subprocess.run([sys.executable, "docker/e2e.py", "--image", IMAGE], cwd=ROOT, check=True)
