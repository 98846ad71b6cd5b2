"""Consolidation writes the same Hugging Face model as transformers."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pebr.errors import InputError
from pebr.training.consolidate import consolidate
from pebr.training.sharded import Run, share, write_index, write_shard
from pebr.vlm.loading import load_model, load_processor

FAMILIES = ["qwen2_5_vl", "qwen3_vl", "qwen3_5", "untied"]


def shard(model: torch.nn.Module, directory: Path, ranks: int = 3) -> None:
    """Write a model's weights as the engine does."""
    for rank in range(ranks):
        runs = []
        for name, value in model.named_parameters():
            part = share(value.numel(), rank, ranks)
            runs.append(Run(name, tuple(value.shape), part.start, value.detach().reshape(-1)[part]))
        write_shard(directory, rank, ranks, [run for run in runs if len(run.values)])
    write_index(directory, ranks)


@pytest.fixture(params=FAMILIES)
def trained(request: pytest.FixtureRequest, tiny_models: dict[str, Path], tmp_path: Path) -> tuple[Path, Path]:
    """(base model, sharded weights) of a model whose every weight differs from the base's."""
    base = tiny_models[request.param]
    model = load_model(base)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn_like(value))
    shard(model, tmp_path / "sharded")
    model.save_pretrained(tmp_path / "expected")
    return base, tmp_path / "sharded"


def test_the_files_are_those_of_transformers(trained: tuple[Path, Path], tmp_path: Path) -> None:
    base, sharded = trained
    consolidate(sharded, base, tmp_path / "output")
    expected = load_file(tmp_path / "expected" / "model.safetensors")
    found = load_file(tmp_path / "output" / "model.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert {path.name for path in (tmp_path / "output").iterdir()} == {path.name for path in base.iterdir()}


def test_it_loads_and_stays_tied_or_untied(trained: tuple[Path, Path], tmp_path: Path) -> None:
    base, sharded = trained
    consolidate(sharded, base, tmp_path / "output", dtype="bfloat16", max_shard_bytes=100_000)
    model = load_model(tmp_path / "output", torch.bfloat16)
    expected = load_model(tmp_path / "expected", torch.bfloat16)
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert tied == base.name.startswith("qwen")
    for (name, found), (other, wanted) in zip(model.named_parameters(), expected.named_parameters(), strict=True):
        assert name == other
        assert torch.equal(found, wanted)
    load_processor(tmp_path / "output")
    assert json.loads((tmp_path / "output" / "config.json").read_text())["dtype"] == "bfloat16"


def test_files_are_limited_and_indexed(trained: tuple[Path, Path], tmp_path: Path) -> None:
    base, sharded = trained
    limit = 100_000
    total = consolidate(sharded, base, tmp_path / "output", max_shard_bytes=limit)
    index = json.loads((tmp_path / "output" / "model.safetensors.index.json").read_text())
    files = sorted((tmp_path / "output").glob("*.safetensors"))
    assert index["metadata"]["total_size"] == total
    assert {path.name for path in files} == set(index["weight_map"].values())
    for path in files:
        tensors = load_file(path)
        assert {name for name, file in index["weight_map"].items() if file == path.name} == tensors.keys()
        assert len(tensors) == 1 or sum(t.nbytes for t in tensors.values()) <= limit


def test_shards_of_another_model_are_refused(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    base = tiny_models["qwen2_5_vl"]
    other = load_model(tiny_models["qwen3_vl"])
    shard(other, tmp_path / "other")
    with pytest.raises(InputError, match=r"missing \(model\..* are not the model's"):
        consolidate(tmp_path / "other", base, tmp_path / "output")
    wider = load_model(base)
    wider.model.visual.merger.ln_q.weight = torch.nn.Parameter(torch.zeros(3))
    shard(wider, tmp_path / "wider")
    with pytest.raises(InputError, match=r"merger.ln_q.weight is \[3\]"):
        consolidate(tmp_path / "wider", base, tmp_path / "output")
    assert not (tmp_path / "output").exists()
