"""Files of two ranks, brought together on rank 0's machine, with one folder or a folder each."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

WORKER = """
import sys
from pathlib import Path
import torch.distributed as dist
from pebr.errors import InputError
from pebr.training.gathering import gather
rank, meeting, folder, checkpoints = int(sys.argv[1]), *sys.argv[2:]
dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
Path(folder).mkdir(exist_ok=True)
own = Path(folder, f"part-{rank}")
own.write_text(f"of rank {rank}")
try:
    gather(Path(folder), [own], checkpoints, rank)
except InputError as error:
    sys.exit(str(error))
"""


def run(tmp_path: Path, folders: tuple[str, str], checkpoints: str) -> list[tuple[int, str]]:
    """Exit codes and errors of both ranks."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(rank), str(tmp_path / "meeting"), str(tmp_path / folder), checkpoints],
            stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        for rank, folder in enumerate(folders)
    ]  # fmt: skip
    return [(process.returncode, said) for process in processes for said in [process.communicate(timeout=200)[1]]]


def test_a_folder_that_all_share_is_left_as_it_is(tmp_path: Path) -> None:
    assert [code for code, _ in run(tmp_path, ("all", "all"), "")] == [0, 0]
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["part-0", "part-1"]


def test_without_a_store_the_missing_file_is_named_on_all_ranks(tmp_path: Path) -> None:
    for code, said in run(tmp_path, ("first", "second"), "/checkpoints"):
        assert code == 1
        assert "rank 0 does not see part-1, which another node has written" in said
        assert "give an output on a volume that all nodes share, or --checkpoints s3://" in said


@pytest.mark.s3
def test_the_store_brings_the_files_of_other_machines(tmp_path: Path, s3_address: str) -> None:
    place = f"s3://pebr/{tmp_path.name}"
    assert [code for code, _ in run(tmp_path, ("first", "second"), place)] == [0, 0]
    assert {path.name: path.read_text() for path in (tmp_path / "first").iterdir()} == {
        "part-0": "of rank 0",
        "part-1": "of rank 1",
    }
    assert not list((tmp_path / "second").iterdir())
