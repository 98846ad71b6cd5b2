"""The runner's artifacts in a real S3 store, and in stores that fail."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from tests.s3_server import environment

SIZE = 300_000


@pytest.fixture
def chain(runner: Any) -> Path:
    """A compiled pipeline: a folder with a large file in it, and a step that reads it."""

    @dsl.container_component
    def folder(output: dsl.Output[dsl.Dataset]):
        script = f'mkdir -p "$1/inner"; head -c {SIZE} /dev/zero > "$1/inner/zeros"; echo x > "$1/small"'
        return dsl.ContainerSpec(image="none", command=["sh", "-c"], args=[script, "sh", output.path])

    @dsl.container_component
    def count(data: dsl.Input[dsl.Dataset], output: dsl.Output[dsl.Dataset], sign: str = ""):
        script = 'echo "$3$(wc -c < "$1/inner/zeros")" > "$2"'
        return dsl.ContainerSpec(image="none", command=["sh", "-c"], args=[script, "sh", data.path, output.path, sign])

    @dsl.pipeline(name="chain")
    def pipeline(sign: str = ""):
        made = folder().set_display_name("Folder")
        count(data=made.output, sign=sign).set_display_name("Count")

    return runner.compile(pipeline)


@pytest.mark.s3
def test_another_machine_goes_on_from_what_is_in_the_store(runner: Any, chain: Path, s3_address: str) -> None:
    runner.environment = {k: v for k, v in os.environ.items() if k.startswith(("AWS_", "PEBR_S3"))}
    store = ["--store", f"s3://pebr/{runner.folder.name}"]
    result = runner.run(chain, *store)
    assert result.returncode == 0, result.stderr
    digests = {step: status["artifacts"] for step, status in runner.statuses().items()}
    shutil.rmtree(runner.folder / "work")  # the other machine has nothing

    assert runner.run(chain, *store).returncode == 0
    assert set(runner.states().values()) == {"kept"}
    assert runner.run(chain, *store, "--set", "sign=n").returncode == 0
    assert runner.states() == {"folder": "kept", "count": "done"}
    assert runner.text("count") == f"n{SIZE}\n"
    assert runner.statuses()["folder"]["artifacts"] == digests["folder"]


@pytest.mark.s3
def test_a_store_that_is_not_there_is_told_in_one_line(runner: Any, chain: Path) -> None:
    runner.environment = {
        "PEBR_S3_ENDPOINT": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
    }  # fmt: skip
    result = runner.run(chain, "--store", "s3://pebr/none")
    assert result.returncode == 1  # an outage passes: a Job tries again
    assert "s3://pebr/none" in result.stderr
    assert "is the server up?" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert json.loads((runner.folder / "work" / "run.json").read_text())["state"] == "failed"


@pytest.mark.s3
def test_a_store_that_refuses_is_a_wrong_input(runner: Any, chain: Path, s3_address: str) -> None:
    runner.environment = environment(s3_address) | {"AWS_SECRET_ACCESS_KEY": "wrong"}
    result = runner.run(chain, "--store", "s3://pebr/none")
    assert result.returncode == 2
    assert "credentials" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert json.loads((runner.folder / "work" / "run.json").read_text())["state"] == "failed"


def test_a_full_store_fails_the_step_and_leaves_nothing_that_looks_whole(
    runner: Any, chain: Path, small_disk: Path
) -> None:
    result = runner.run(chain, "--store", str(small_disk))
    assert result.returncode == 1
    assert "No space left on device" in result.stderr
    assert runner.states()["count"] == "waiting"
    assert list(small_disk.rglob("status.json")) == []


def test_a_store_that_cannot_be_written_is_told_in_one_line(runner: Any, chain: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    result = runner.run(chain, "--store", str(small_disk))
    assert result.returncode == 2
    assert f"{small_disk}" in result.stderr
    assert "Read-only file system" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
