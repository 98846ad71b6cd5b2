"""The sampler takes turns with training, and is asleep or closed after every error."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from pebr.grpo import policy as policies
from pebr.grpo.policy import Policy
from pebr.grpo.settings import Settings
from pebr.grpo.work import work
from pebr.sampling.start import start_for
from pebr.training.engine import TrainingEngine


class FakeEngine:
    """Counts updates; has one weight."""

    step = 0

    def gathered_parameters(self) -> list[str]:
        return [f"weights of {self.step}"]

    def gathered_adapters(self) -> list[str]:
        return [f"adapters of {self.step}"]


class FakeSampler:
    """Records its calls."""

    def __init__(self, fails_in: str = "") -> None:
        self.calls: list[str] = []
        self.fails_in = fails_in

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name == self.fails_in:
            raise RuntimeError(name)

    def wake(self) -> None:
        self._call("wake")

    def sync(self, parameters: list[str]) -> None:
        self._call(f"sync {parameters[0]}")

    def sync_adapters(self, parameters: list[str], scaling: int) -> None:
        self._call(f"sync {parameters[0]}, scaled by {scaling}")

    def sleep(self) -> None:
        self._call("sleep")

    def close(self) -> None:
        self._call("close")


def make(sampler: Any, live: bool = False, adapters: bool = False) -> Policy:
    engine: Any = FakeEngine()
    return Policy(engine, torch.nn.Linear(1, 1).train(), sampler, live, None, adapters)


def test_weights_are_synced_except_the_first_time() -> None:
    sampler = FakeSampler()
    with closing(make(sampler)) as policy:
        for _ in range(2):
            with policy.sampling() as awake:
                assert awake is sampler
                assert not policy.module.training
            assert policy.module.training
            policy.engine.step += 1
    assert sampler.calls == ["sleep", "wake", "sync weights of 1", "sleep", "close"]


def test_a_resumed_run_syncs_before_its_first_samples() -> None:
    sampler = FakeSampler()
    policy = make(sampler)
    policy.engine.step = 7
    with policy.sampling():
        assert sampler.calls == ["wake", "sync weights of 7"]


def test_a_sampler_that_slept_is_synced_again_even_without_an_update() -> None:
    sampler = FakeSampler()
    policy = make(sampler)
    for _ in range(2):
        with policy.sampling():
            pass
    assert sampler.calls == ["sleep", "wake", "sync weights of 0", "sleep"]


def test_a_sampler_that_takes_adapters_gets_nothing_else() -> None:
    sampler = FakeSampler()
    policy = make(sampler, adapters=True)
    policy.engine.step = 7
    with policy.sampling():
        pass
    assert sampler.calls == ["wake", "sync adapters of 7, scaled by 2", "sleep"]


def test_a_live_sampler_needs_no_weights() -> None:
    sampler = FakeSampler()
    policy = make(sampler, live=True)
    for _ in range(2):
        with policy.sampling():
            pass
        policy.engine.step += 1
    assert sampler.calls == ["sleep", "sleep"]


@pytest.mark.parametrize("fails_in", ["", "wake", "sync weights of 1"])
def test_after_an_error_the_sampler_sleeps_and_is_closed(fails_in: str) -> None:
    sampler = FakeSampler(fails_in)
    policy = make(sampler)
    policy.engine.step = 1
    with pytest.raises(RuntimeError), closing(policy), policy.sampling():
        raise RuntimeError("while sampling")
    assert sampler.calls[-2:] == ["sleep", "close"]
    assert policy.module.training


@pytest.mark.parametrize("place", ["sampling", "training"])
def test_an_error_of_a_run_closes_the_sampler(
    place: str, tiny_models: dict[str, Path], question_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage with the real engines, which fails while it samples or while it trains."""
    started, calls = [], []

    def start(*arguments: Any, **options: Any) -> Any:
        sampler: Any = start_for(*arguments, **options)
        for name in ("sleep", "close"):
            monkeypatch.setattr(sampler, name, lambda name=name: calls.append(name))
        if place == "sampling":
            monkeypatch.setattr(sampler, "stream", fail)
        started.append(arguments[3])
        return sampler

    def fail(*_: Any) -> None:
        calls.append("fail")
        raise RuntimeError("out of memory")

    monkeypatch.setattr(policies, "start_for", start)
    if place == "training":
        monkeypatch.setattr(TrainingEngine, "update", fail)
    settings = Settings(
        model=str(tiny_models["qwen2_5_vl"]),
        dataset=str(question_rows),
        output=str(tmp_path / "weights"),
        history=str(tmp_path / "history.jsonl"),
        rollouts=str(tmp_path / "rollouts"),
        questions_per_step=2,
        questions_per_update=2,
        samples=2,
        max_response_tokens=4,
        sampling="transformers",
        dtype="fp32",
        zero_stage=0,
    )
    with pytest.raises(RuntimeError, match="out of memory"):
        work(settings)
    assert calls == (["fail", "sleep", "close"] if place == "sampling" else ["sleep", "fail", "close"])
    assert started[0].training
