"""Tiny models of all families, built once."""

from pathlib import Path

import pytest

from pebr.toy.vlm import build_model


@pytest.fixture(scope="session", params=["qwen2_5_vl", "qwen3_vl", "qwen3_5"])
def model_directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model") / request.param
    build_model(directory, seed=0, family=request.param)
    return directory
