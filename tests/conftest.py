"""Tiny models that several rooms' tests read; built once a session, never written to."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from pebr.answers.check import AnswerChecker

settings.register_profile("any machine", deadline=None)  # a busy machine is no bug
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Hugging Face directories of the smallest model of each family, and of one whose output head is its own."""
    from pebr.toy.vlm import build_model

    root = tmp_path_factory.mktemp("models")
    sizes = {"width": 64, "layers": 2, "vision_width": 64}
    return {
        "qwen2_5_vl": build_model(root / "qwen2_5_vl", 0, "qwen2_5_vl", **sizes),
        "qwen3_vl": build_model(root / "qwen3_vl", 0, "qwen3_vl", **sizes),
        "qwen3_5": build_model(root / "qwen3_5", 0, "qwen3_5", **sizes),
        "untied": build_model(root / "untied", 0, "qwen2_5_vl", **sizes, tied=False),
    }


@pytest.fixture(scope="session")
def checker() -> Iterator["AnswerChecker"]:
    """An answer checker with two workers."""
    from pebr.answers.check import AnswerChecker

    with AnswerChecker(workers=2, seconds=2.0) as checker:
        yield checker


@pytest.fixture(scope="session")
def s3_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real S3 server with the bucket `pebr`; this process's environment points pebr to it."""
    from tests.s3_server import environment, s3_server

    with s3_server(tmp_path_factory.mktemp("s3")) as address, pytest.MonkeyPatch.context() as patch:
        for name, value in environment(address).items():
            patch.setenv(name, value)
        yield address


@pytest.fixture
def mount_point(tmp_path: Path) -> Path:
    """An empty folder for `tests.mounted.run_in`."""
    from tests.mounted import may_mount

    path = tmp_path / "place"
    path.mkdir()
    if not may_mount(path):
        pytest.skip("no mount namespaces here")
    return path
