"""Every step that loads a model refuses a spoiled one with exit code 2, before it has written anything."""

import importlib
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pebr.filter.settings import Settings as Filter
from pebr.filter.work import work as filter_rows
from pebr.step.command import main
from pebr.toy import formats


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path]) -> Path:
    """Datasets of the tiny world, and two models: one without its tower, one with a NaN."""
    root = tmp_path_factory.mktemp("inputs")
    for kind, write in (("sft", formats.write_sft), ("rl", formats.write_rl)):
        write(root / f"raw-{kind}", 0, 8)
        filter_rows(Filter(source=str(root / f"raw-{kind}"), output=str(root / kind), kind=kind))  # type: ignore[arg-type]
    formats.write_benchmarks(root / "benchmarks", 0, 4)
    weights = load_file(tiny_models["qwen2_5_vl"] / "model.safetensors")
    spoiled = {
        "no_tower": {name: value for name, value in weights.items() if "visual." not in name},
        "nan": weights | {"model.norm.weight": torch.full((64,), float("nan"))},
    }
    for name, tensors in spoiled.items():
        shutil.copytree(tiny_models["qwen2_5_vl"], root / name)
        (root / name / "model.safetensors").unlink()
        save_file(tensors, root / name / "model.safetensors", {"format": "pt"})
    return root


@pytest.mark.parametrize(
    ("model", "said"), [("no_tower", "30 missing (model.visual."), ("nan", "in model.norm.weight")]
)
@pytest.mark.parametrize("step", ["sft", "rollout", "grpo", "evaluate", "ingest"])
def test_a_spoiled_model_is_refused(
    step: str, model: str, said: str, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = importlib.import_module(f"pebr.{step}.work").work
    settings = importlib.import_module(f"pebr.{step}.settings").Settings
    data = {
        "sft": ["--dataset", f"{inputs / 'sft'}", "--history", f"{tmp_path / 'history'}"],
        "rollout": ["--dataset", f"{inputs / 'rl'}"],
        "grpo": ["--dataset", f"{inputs / 'rl'}", "--history", f"{tmp_path / 'h'}", "--rollouts", f"{tmp_path / 'r'}"],
        "evaluate": ["--benchmarks", f"{inputs / 'benchmarks'}"],
        "ingest": ["--source", f"{inputs / model}", "--kind", "model"],
    }[step]
    given = ["--model", f"{inputs / model}"] if step != "ingest" else []
    with pytest.raises(SystemExit) as stop:
        main(settings, work, [*given, *data, "--output", f"{tmp_path / 'out'}"])
    assert stop.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if " ERROR " in line]
    assert f"{inputs / model}: " in line
    assert said in line
    assert list(tmp_path.iterdir()) == []
