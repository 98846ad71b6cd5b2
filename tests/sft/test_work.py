"""The command `python -m pebr.sft`: equivalent settings give the same run; the loss equals that of transformers."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pebr.data.shards import ShardedDataset
from pebr.errors import InputError
from pebr.sft.batches import Batches
from pebr.sft.settings import Settings
from pebr.sft.work import work
from pebr.telemetry.history import read_history
from pebr.training.validation import held_out
from pebr.vlm.encoding import Encoder
from pebr.vlm.loading import load_model, load_processor
from pebr.vlm.prompt import TEMPLATE

Result = tuple[list[dict], dict[str, torch.Tensor], dict]


@pytest.fixture
def base(sft_dataset: Path, tiny_models: dict[str, Path], tmp_path: Path) -> Settings:
    return Settings(
        model=str(tiny_models["qwen2_5_vl"]),
        dataset=str(sft_dataset),
        output=str(tmp_path / "output"),
        history=str(tmp_path / "history.jsonl"),
        metrics=str(tmp_path / "metrics.json"),
        epochs=1,
        batch_size=8,
        learning_rate=1e-3,
        max_tokens=300,
        tokens_per_batch=500,
        dtype="fp32",
        zero_stage=0,
        gradient_checkpointing=False,
        processes=1,
    )


def command(settings: Settings) -> list[str]:
    flags = [sys.executable, "-m", "pebr.sft"]
    for field in dataclasses.fields(settings):
        flags += [f"--{field.name.replace('_', '-')}", str(getattr(settings, field.name))]
    return flags


def run(settings: Settings, **changes: object) -> Result:
    """Run the command and return history, weights and metrics."""
    settings = dataclasses.replace(settings, **changes)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command(settings), env=environment, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    weights = load_file(Path(settings.output) / "model.safetensors")
    return read_history(settings.history), weights, json.loads(Path(settings.metrics).read_text())


def assert_same(one: Result, other: Result, tolerance: float) -> None:
    assert len(one[0]) == len(other[0])
    for mine, theirs in zip(one[0], other[0], strict=True):
        for key in ("step", "loss", "learning_rate", "grad_norm", "tokens"):
            assert mine[key] == pytest.approx(theirs[key], rel=tolerance), (key, mine, theirs)
    for name, value in one[1].items():
        assert (value - other[1][name]).abs().max() <= tolerance * value.abs().max(), name


def test_it_trains_the_language_model_alone(base: Settings) -> None:
    history, weights, metrics = run(base, epochs=4)
    before = load_file(Path(base.model) / "model.safetensors")
    for name, value in weights.items():
        assert torch.equal(value, before[name]) == name.startswith("visual."), name
    assert [row["step"] for row in history] == list(range(1, 13))
    assert history[-1]["loss"] < history[0]["loss"] - 0.5
    assert metrics["set_aside"] == 1
    assert metrics["tokens"] == sum(row["tokens"] for row in history)
    assert load_model(base.output).config.tie_word_embeddings


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_the_loss_is_that_of_transformers_row_by_row(base: Settings, tiny_models: dict[str, Path], family: str) -> None:
    """The slow reference: each row alone, unpacked, with the model's own loss."""
    history, _, _ = run(base, model=str(tiny_models[family]), max_steps=1)
    rows = Batches(ShardedDataset(base.dataset), None, 8, 300, 1, 0, 0, 1).indices(0)  # type: ignore[arg-type]
    assert history[0]["loss"] == pytest.approx(loss_of(tiny_models[family], base.dataset, rows), rel=1e-5)


def loss_of(path: Path | str, dataset: str, rows: Sequence[int]) -> float:
    """The loss of a model on rows, each row alone and unpacked, with transformers' own loss."""
    model, encoder = load_model(path), Encoder(load_processor(path))
    batches = Batches(ShardedDataset(dataset), encoder, 8, 300, 1, 0, 0, 1)  # a budget of 1: one example per row
    total, count = 0.0, 0
    for example in map(batches.measure, rows):
        if isinstance(example, str):  # rejected
            continue
        prompt = batches.encode(example).prompt
        ids = torch.tensor([[*prompt.token_ids, *example.answer]])
        labels = ids.clone()
        labels[:, : len(prompt.token_ids)] = -100
        pixels = {"pixel_values": prompt.pixel_values, "image_grid_thw": prompt.image_grids}
        types = (ids == encoder.image_token_id).int()
        inputs = pixels if prompt.pixel_values is not None else {}
        with torch.no_grad():
            loss = model(input_ids=ids, labels=labels, mm_token_type_ids=types, **inputs).loss
        total, count = total + loss.item() * len(example.answer), count + len(example.answer)
    return total / count


@pytest.mark.slow
def test_the_best_weights_are_those_before_the_learning_rate_broke_training(base: Settings) -> None:
    rising = {"learning_rate": 0.3, "warmup_ratio": 1.0, "max_grad_norm": 0.0, "epochs": 12}
    validated = {"validate_every": 1, "validation_questions": 6, "stop_patience": 3, "weights": "best"}
    history, _, metrics = run(base, **rising, **validated)
    losses = [row["validation/loss"] for row in history]
    best = losses.index(min(losses))
    assert 1 < best + 1 == metrics["best_step"] == len(history) - 3 < 30
    assert losses[best] < losses[0] - 0.2
    assert losses[-1] > losses[best] + 0.2
    assert history[-1]["stopped"].startswith("3 validations in a row without a better validation/loss")
    trained, held = held_out([str(row) for row in range(24)], 6)
    assert losses[best] == pytest.approx(loss_of(base.output, base.dataset, held), rel=1e-5)
    assert metrics["rows"] == len(trained) == 18


def test_budget_and_recomputation_change_nothing(base: Settings, tmp_path: Path) -> None:
    expected = run(base)
    for name, changes in {
        "budget": {"tokens_per_batch": 150},
        "recompute": {"gradient_checkpointing": True, "zero_stage": 2},
    }.items():
        found = run(base, output=str(tmp_path / name), history=str(tmp_path / f"{name}.jsonl"), **changes)
        assert_same(found, expected, 2e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "ranks", "stage"),
    [(family, *ranks) for family in ("qwen2_5_vl", "qwen3_vl") for ranks in ((2, 0), (2, 3), (4, 2), (4, 3))]
    + [("untied", 2, 3)],
)
def test_ranks_and_stages_change_nothing(
    base: Settings, tiny_models: dict[str, Path], tmp_path: Path, family: str, ranks: int, stage: int
) -> None:
    model = str(tiny_models[family])
    expected = run(base, model=model)
    other = {"output": str(tmp_path / "other"), "history": str(tmp_path / "other.jsonl")}
    assert_same(run(base, model=model, processes=ranks, zero_stage=stage, **other), expected, 2e-5)


@pytest.mark.slow
def test_resume_on_other_ranks_in_the_middle_changes_nothing(base: Settings, tmp_path: Path) -> None:
    """Two ranks up to step 2 of 6, as if killed there, then one rank: the same run as on one rank."""
    expected = run(base, epochs=2, checkpoints=str(tmp_path / "never-read"))
    first = {"epochs": 2, "save_every": 2, "checkpoints": str(tmp_path / "shared"), "keep_checkpoints": 9}
    run(base, processes=2, zero_stage=3, output=str(tmp_path / "first"), **first)
    [prefix] = (path for path in (tmp_path / "shared").iterdir() if not path.name.endswith("-live"))
    for later in ("step-00000004", "step-00000006"):
        (prefix / later / "index.json").unlink()
    assert_same(run(base, output=str(tmp_path / "second"), **first), expected, 2e-5)


def test_adapters_end_in_a_plain_model(base: Settings) -> None:
    history, weights, metrics = run(base, epochs=4, lora_rank=4, learning_rate=1e-2)
    before = load_file(Path(base.model) / "model.safetensors")
    changed = {name for name, value in weights.items() if not torch.equal(value, before[name])}
    assert weights.keys() == before.keys()
    assert changed == {name for name in before if name.startswith("model.layers.") and "proj.weight" in name}
    assert history[-1]["loss"] < history[0]["loss"] - 0.2
    assert metrics["parameters_trained"] < sum(value.numel() for value in weights.values()) / 4


def test_another_learning_rate_starts_anew(base: Settings, tmp_path: Path) -> None:
    first = run(base, max_steps=3)
    again = run(base, max_steps=3, history=str(tmp_path / "elsewhere.jsonl"))
    assert again[0] == first[0]  # nothing was trained again: the history comes from the checkpoint
    assert run(base, max_steps=3, learning_rate=2e-3)[0][2]["loss"] != first[0][2]["loss"]


def test_a_run_may_continue_from_another_ones_checkpoint_knowingly(base: Settings, tmp_path: Path) -> None:
    first, _, _ = run(base, epochs=2, max_steps=2)
    checkpoints = Path(f"{base.output}.checkpoints")
    (other,) = (path for path in checkpoints.iterdir() if not path.name.endswith("-live"))
    changes = {"epochs": 2, "max_steps": 4, "learning_rate": 2e-3, "resume_from": str(other)}
    continued, _, metrics = run(base, **changes)
    assert continued[:2] == first
    assert continued[2]["resumed_from"] == f"{other}/step-00000002"
    assert [row["step"] for row in continued] == [1, 2, 3, 4]
    assert metrics["steps"] == 4
    assert "resumed_from" not in continued[3]
    again, _, _ = run(base, **changes)
    assert again == continued  # from its own checkpoint, which has the record


def test_no_checkpoint_but_the_last(base: Settings) -> None:
    assert work(dataclasses.replace(base, save_every=0, max_steps=1))["steps"] == 1


def test_a_checkpoint_is_due_when_the_minutes_are_over(base: Settings, tmp_path: Path) -> None:
    places = {"checkpoints": str(tmp_path / "kept"), "keep_checkpoints": 9, "save_every": 0, "max_steps": 3}
    run(base, **places, save_minutes=1e-9)
    assert len(list((tmp_path / "kept").glob("*/step-*/index.json"))) == 3
    places |= {"checkpoints": str(tmp_path / "long")}
    run(base, **places, save_minutes=60.0)
    assert len(list((tmp_path / "long").glob("*/step-*/index.json"))) == 1  # the last one


def test_rows_that_are_all_too_long_are_a_wrong_input(base: Settings) -> None:
    with pytest.raises(InputError, match=r"no row can be trained on \(24 too long\): raise --max-tokens \(20\)"):
        work(dataclasses.replace(base, max_tokens=20))


def test_wrong_inputs_are_told_in_one_line(base: Settings, tmp_path: Path) -> None:
    wrong = {
        "--batch-size 0: give at least 1": {"batch_size": 0},
        "--max-steps -1: give at least 0": {"max_steps": -1},
        "give --zero-stage 1 or --dtype fp32": {"dtype": "bf16"},
        "published without instructions": {"prompt": "data"},
        "no manifest.json here": {"dataset": str(tmp_path)},
        "no config.json here": {"model": str(tmp_path)},
    }
    for message, changes in wrong.items():
        with pytest.raises(InputError, match=message) as caught:
            work(dataclasses.replace(base, **changes))
        assert "\n" not in str(caught.value)
    assert not Path(base.output).exists()


@pytest.mark.slow
def test_the_prompt_of_the_warm_up_goes_with_the_model_and_names_the_run(base: Settings, tmp_path: Path) -> None:
    """Later steps read it from the model, as the next warm-up does."""
    run(base, output=str(tmp_path / "ours"), checkpoints=str(tmp_path / "checkpoints"), max_steps=1)
    assert (tmp_path / "ours" / "prompt.txt").read_text() == TEMPLATE
    template = "Look, then answer.\n{question}"
    (tmp_path / "template.txt").write_text(template)
    other = str(tmp_path / "other")
    settings = {"prompt": str(tmp_path / "template.txt"), "checkpoints": str(tmp_path / "checkpoints"), "max_steps": 1}
    run(base, output=other, **settings)
    assert len(list((tmp_path / "checkpoints").glob("*-live"))) == 2
    (tmp_path / "template.txt").write_text(template.replace("Look", "See"))
    run(base, output=str(tmp_path / "third"), **settings)
    assert len(list((tmp_path / "checkpoints").glob("*-live"))) == 3
    encoder = Encoder(load_processor(other))
    assert "Look, then answer.\nRed?" in encoder.prompt("Red?", []).text
    assert "Look at the image" not in encoder.prompt("Red?", []).text
    run(base, model=other, output=str(tmp_path / "next"), max_steps=1)
    assert (tmp_path / "next" / "prompt.txt").read_text() == template
