"""A damaged model differs in its vision tower alone, by noise of the size that was asked for."""

from pathlib import Path

from safetensors.torch import load_file

from benchmarks.experiment.damage import damaged


def test_only_the_matrices_of_the_vision_tower_change_and_a_seed_gives_the_same_bytes(
    tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    model = tiny_models["qwen2_5_vl"]
    made = [damaged(model, tmp_path / name, 0.5, seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    bytes_of = [(path / "model.safetensors").read_bytes() for path in made]
    assert bytes_of[0] == bytes_of[1] != bytes_of[2]
    assert {path.name for path in made[0].iterdir()} == {path.name for path in model.iterdir()}
    before, after = load_file(model / "model.safetensors"), load_file(made[0] / "model.safetensors")
    seen = 0
    for name, weight in before.items():
        if "visual." in name and weight.dim() > 1:
            seen += 1
            assert 0.4 < ((after[name] - weight).std() / weight.std()).item() < 0.6, name
        else:
            assert after[name].equal(weight), name
    assert seen > 8


def test_a_damaged_model_is_made_once(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    made = damaged(tiny_models["qwen2_5_vl"], tmp_path / "a", 0.5, 1)
    before = (made / "model.safetensors").stat().st_mtime_ns
    assert damaged(tiny_models["qwen2_5_vl"], made, 0.1, 2) == made
    assert (made / "model.safetensors").stat().st_mtime_ns == before
