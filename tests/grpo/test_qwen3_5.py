"""A GRPO stage with Qwen3.5, whose layers carry a state; what it cannot do is refused before anything is sampled."""

from pathlib import Path

import pytest

from pebr.errors import InputError
from pebr.grpo.settings import Settings
from pebr.grpo.work import check_family
from pebr.vlm.families import family_named
from tests.grpo.conftest import Command, finish, history

PATHS = {"model": "m", "dataset": "d", "output": "o", "history": "h", "rollouts": "r"}


@pytest.mark.parametrize("changes", [{"seeing_weight": 0.1}, {"credit": "vppo"}, {"credit": "pgpo"}])
def test_methods_that_hide_image_tokens_are_refused(changes: dict[str, object]) -> None:
    settings = Settings(**PATHS, **changes)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="qwen3_5 has layers that carry a state instead: give --seeing-weight 0 and"):
        check_family(settings, family_named("qwen3_5", "here"))
    check_family(settings, family_named("qwen3_vl", "here"))
    check_family(Settings(**PATHS), family_named("qwen3_5", "here"))


@pytest.mark.slow
def test_a_stage_samples_and_trains_the_same_on_one_rank_and_on_two(
    command: Command, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    model = tiny_models["qwen3_5"]
    for processes in (1, 2):
        finish(command(tmp_path / str(processes), model=model, processes=processes, max_steps=2))
    one, two = (history(tmp_path / name) for name in ("1", "2"))
    for first, second in zip(one, two, strict=True):
        assert first["drift/mean"] < 1e-5  # sampler and trainer compute the same probabilities
        assert first["grad_norm"] > 0
        for name in ("loss", "grad_norm", "reward", "kl"):
            assert second[name] == pytest.approx(first[name], rel=2e-3, abs=1e-5), name
