"""Each method of docs/methods.md in a tiny run of the whole stage: its own measure moves the right way.

PAPO's term and dynamic sampling have such runs in `test_update.py` and `test_replacement.py`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pebr.data.records import SPLIT_SCHEMA
from pebr.data.shards import ShardWriter, iter_rows
from pebr.grpo.credit import vppo_mask
from pebr.grpo.micro_batches import Packer
from pebr.grpo.settings import ObjectiveSettings, Settings
from pebr.grpo.update import Updater
from pebr.grpo.work import work
from pebr.step.launch import join
from pebr.telemetry.history import read_history
from pebr.toy.world import questions
from pebr.training.engine import EngineSettings, TrainingEngine
from pebr.training.logprobs import PolicyModel
from pebr.vlm.encoding import Encoder
from pebr.vlm.loading import load_model, load_processor
from tests.grpo.test_update import make_experience

pytestmark = pytest.mark.slow

Train = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def train(tiny_models: dict[str, Path], question_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """`train(steps, entropy_weight=0.3, ...)`: run the stage in this process; returns its history.

    Four updates per step at a high learning rate: after the first one, the policy is far from the one that sampled.
    """

    def run(steps: int, **changes: object) -> list[dict[str, Any]]:
        folder = tmp_path_factory.mktemp("method")
        outputs = {"output": "weights", "history": "history.jsonl", "rollouts": "rollouts"}
        settings: dict[str, Any] = {
            **{name: str(folder / file) for name, file in outputs.items()},
            "model": str(tiny_models["qwen2_5_vl"]),
            "dataset": str(question_rows),
            "reward": "tests.grpo.rewards:vowels=1",
            "accuracy_weight": 0.0,
            "format_weight": 0.0,
            "questions_per_step": 8,
            "questions_per_update": 2,
            "samples": 4,
            "epochs": 100,
            "max_steps": steps,
            "max_response_tokens": 16,
            "learning_rate": 3e-3,
            "kl_weight": 0.0,
            "sampling": "transformers",
            "dtype": "fp32",
            "zero_stage": 0,
            "processes": 1,
            "gradient_checkpointing": "off",
            "save_every": 0,
            "drift_limit": 0.0,
            "futile_steps": 0,
            **changes,
        }
        work(Settings(**settings))
        return read_history(folder / "history.jsonl")

    return run


@pytest.fixture(scope="module")
def plain(train: Train) -> list[dict[str, Any]]:
    return train(3)


def test_the_bonus_raises_the_entropy_and_the_penalty_lowers_it(train: Train, plain: list[dict[str, Any]]) -> None:
    bonus, penalty = train(3, entropy_weight=0.3), train(3, entropy_weight=-0.3)
    assert bonus[-1]["entropy"] > bonus[0]["entropy"]
    assert bonus[-1]["entropy"] > plain[-1]["entropy"] + 0.01
    assert penalty[-1]["entropy"] < plain[-1]["entropy"] - 0.05


def test_the_mean_ratio_of_an_answer_leaves_the_bounds_less_often_than_its_tokens(
    train: Train, plain: list[dict[str, Any]]
) -> None:
    (gspo,) = train(1, ratio="sequence")
    assert 0 < gspo["clip_fraction"] < 0.7 * plain[0]["clip_fraction"]


def test_beyond_the_bounds_tokens_keep_a_gradient_with_cispo(train: Train) -> None:
    narrow = {"clip_low": 0.01, "clip_high": 0.01, "clip_dual": 0.0}
    (clip,), (cispo,) = (train(1, surrogate=surrogate, **narrow) for surrogate in ("clip", "cispo"))
    assert cispo["clip_fraction"] > 0.5
    assert cispo["grad_norm"] > 1.1 * clip["grad_norm"]


def test_answers_that_the_policy_has_left_are_left_out(train: Train) -> None:
    near, far = train(1, off_policy_limit=0.02), train(1, off_policy_limit=0.3)
    assert near[0]["left_out_fraction"] > 2 * far[0]["left_out_fraction"] > 0
    assert train(1, off_policy_limit=0.02, questions_per_update=8)[0]["left_out_fraction"] == 0


def test_a_sampler_of_other_probabilities_is_corrected(train: Train) -> None:
    """With top_p 0.5 the sampler gives each token about twice the model's probability."""
    other = {"top_p": 0.5, "old_logprobs": "recompute"}
    (plain,) = train(1, **other)
    (truncated,) = train(1, **other, sampler_correction="truncate")
    (masked,) = train(1, **other, sampler_correction="mask", ratio_cap=1.5)
    assert truncated["grad_norm"] < 0.75 * plain["grad_norm"]  # every token counts about half
    assert masked["left_out_fraction"] > 0.9
    assert train(1, sampler_correction="mask", ratio_cap=1.5, old_logprobs="recompute")[0]["left_out_fraction"] == 0


def test_the_overlong_penalty_makes_answers_end(train: Train) -> None:
    rows = train(8, reward="", overlong_weight=1.0, overlong_tokens=16, questions_per_update=8)
    assert rows[-1]["truncated_share"] < rows[0]["truncated_share"] - 0.15
    assert rows[-1]["response_tokens"] < rows[0]["response_tokens"] - 1


def test_drawn_by_variance_fewer_questions_teach_nothing(train: Train, question_rows: Path, tmp_path: Path) -> None:
    """Every second question has rewards that differ, and the rollout has said so."""
    with ShardWriter(tmp_path / "split", SPLIT_SCHEMA, "split") as writer:
        for row in iter_rows(question_rows):
            varies = int(row["qid"][-1]) % 2
            writer.write({**row, "difficulty": "medium" if varies else "easy", "correct": 4 - 2 * varies, "samples": 4})
    changes = {"reward": "tests.grpo.rewards:vowels_of_some=1", "dataset": str(tmp_path / "split")}
    in_turn, drawn = (train(2, **changes, variance_share=share) for share in (0.0, 1.0))
    assert all(row["zero_advantage_share"] > 0.2 for row in in_turn)
    assert all(row["zero_advantage_share"] == 0.0 for row in drawn)


@pytest.mark.parametrize(("credit", "hidden_share"), [("pgpo", 1.0), ("vppo", 0.5)])
def test_an_update_moves_the_tokens_that_depend_on_the_image(
    tiny_models: dict[str, Path], credit: str, hidden_share: float
) -> None:
    gains = {kind: gain(tiny_models["qwen2_5_vl"], kind, hidden_share) for kind in ("even", credit)}
    assert gains[credit] > gains["even"] + 0.05, gains


def gain(path: Path, credit: str, hidden_share: float) -> float:
    """The part of an update's gain, in log-probability times advantage, of the tokens that VPPO would keep."""
    encoder = Encoder(load_processor(path))
    prompts = [encoder.prompt(asked.problem, [asked.image.resize((56, 56))]) for asked in questions(0, 6, "rl")]
    model, place = load_model(path), join()
    engine = TrainingEngine(PolicyModel(model), EngineSettings(3e-4, total_steps=10), place, weights=model)

    def updater_of(kind: str) -> Updater:
        settings = ObjectiveSettings(kl_weight=0.0, credit=kind, hidden_share=hidden_share)  # type: ignore[arg-type]
        packer = Packer(encoder, lambda row: prompts[row], settings, 400, 32, 0, 1)
        return Updater(engine, None, packer, settings, temperature=1.2)

    updater = updater_of(credit)
    experience = make_experience(prompts, lambda row, rng: [rng.random() for _ in range(4)])
    batches = updater_of("vppo").packer.pack(experience)
    kept = []
    for batch, values in zip(batches, updater._passes(engine.module, batches, blind=True, compare=True), strict=True):
        lengths = batch.row.segments.unique_consecutive(return_counts=True)[1].tolist()
        kept += [vppo_mask(answer) for answer in values.split(lengths)]
    before = torch.cat(updater._passes(engine.module, batches))
    updater.step([experience])
    gained = (torch.cat(updater._passes(engine.module, batches)) - before) * torch.cat([b.advantages for b in batches])
    return float((gained * torch.cat(kept)).sum() / gained.sum())
