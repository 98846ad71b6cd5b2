"""A step on one node: what it fetches and stores, how it ends, and what it does without a launcher."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pebr.store.contract import NotThereError
from pebr.store.opening import open_store
from pipelines.nodes.exchange import Exchange

ROOT = Path(__file__).parents[3]


@pytest.fixture
def exchange(tmp_path: Path) -> Exchange:
    """An exchange with an input, of a launcher that lives."""
    made = Exchange(str(tmp_path / "exchange"))
    (tmp_path / "rows").write_bytes(b"rows")
    made.put_inputs({"dataset": tmp_path / "rows"})
    made.beat()
    return made


def start(exchange: Exchange, folder: Path, how: str, rank: int = 0) -> "subprocess.Popen[str]":
    quick = "import sys; from pipelines.nodes import node; node.LOOK_SECONDS = 0.2; sys.exit(node.main())"
    command = [sys.executable, "-c", quick, "--exchange", exchange.location, "--folder", str(folder)]
    command += ["--inputs", "dataset", "--outputs", "output,history", "--", "tests.pipelines.nodes.copying"]
    command += [f"{folder}/inputs/dataset", f"{folder}/outputs/output", how]
    known = {"PET_NODE_RANK": str(rank), "PYTHONPATH": f"{ROOT / 'components'}{os.pathsep}{ROOT}"}
    return subprocess.Popen(command, env=os.environ | known, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("rank", [0, 1])
def test_node_0_hands_over_what_the_step_has_written(exchange: Exchange, tmp_path: Path, rank: int) -> None:
    process = start(exchange, tmp_path / "node", "copy", rank)
    process.communicate()
    assert process.returncode == 0
    assert exchange.is_done() == (rank == 0)
    if rank == 0:
        exchange.fetch_outputs({"output": tmp_path / "output", "history": tmp_path / "history"})
        assert (tmp_path / "output").read_bytes() == b"rows"
        assert not (tmp_path / "history").exists()
        exchange.delete()
        assert open_store(exchange.location).list("") == []


@pytest.mark.parametrize(("how", "code"), [("fail", 7), ("killed", 137)])
def test_a_step_that_fails_hands_over_nothing(exchange: Exchange, tmp_path: Path, how: str, code: int) -> None:
    process = start(exchange, tmp_path / "node", how)
    process.communicate()
    assert process.returncode == code
    assert not exchange.is_done()


def test_sigterm_reaches_the_step(exchange: Exchange, tmp_path: Path) -> None:
    process = start(exchange, tmp_path / "node", "wait")
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 75


def test_a_step_whose_launcher_is_gone_is_stopped_and_not_started_again(exchange: Exchange, tmp_path: Path) -> None:
    process = start(exchange, tmp_path / "node", "wait")
    assert process.stdout.readline() == "waiting\n"
    exchange._write("alive", str(time.time() - 3600))
    process.communicate()
    assert process.returncode == 75
    again = start(exchange, tmp_path / "node", "copy")
    again.communicate()
    assert again.returncode == 75
    assert not exchange.is_done()


def test_an_input_is_stored_once_and_a_missing_one_is_an_error(exchange: Exchange, tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(b"others")
    exchange.put_inputs({"dataset": tmp_path / "rows"})
    exchange.fetch_inputs(["dataset"], tmp_path / "inputs")
    assert (tmp_path / "inputs" / "dataset").read_bytes() == b"rows"
    with pytest.raises(NotThereError):
        exchange.fetch_inputs(["model"], tmp_path / "inputs")


def test_neither_launcher_nor_node_imports_torch() -> None:
    code = "import sys, pipelines.nodes.launcher, pipelines.nodes.node; sys.exit('torch' in sys.modules)"
    known = {"PYTHONPATH": f"{ROOT / 'components'}{os.pathsep}{ROOT}"}
    subprocess.run([sys.executable, "-c", code], env=os.environ | known, check=True)
