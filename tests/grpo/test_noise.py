"""Noisy views equal a transcription of NoisyRollout; what the sampler thought of a disturbed image counts nowhere."""

import dataclasses
import math
from array import array
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from PIL import Image

from pebr.data.shards import iter_rows
from pebr.errors import InputError
from pebr.grpo.noise import Noise, disturbed, kept_shares
from pebr.grpo.settings import Settings
from pebr.toy.world import questions
from pebr.vlm.encoding import Encoder
from pebr.vlm.loading import load_processor
from tests.grpo.conftest import Command, finish, history
from tests.grpo.test_update import assert_same, make_experience, random_rewards, updated

PATHS = {name: name for name in ("model", "dataset", "output", "history", "rollouts")}


@pytest.fixture(scope="module")
def encoder(tiny_models: dict[str, Path]) -> Encoder:
    return Encoder(load_processor(tiny_models["qwen2_5_vl"]))


def kept_by_hand(step: int) -> float:
    kept = 1.0
    for place in range(step + 1):
        s = -6 + 12 * place / 999
        kept *= 1 - ((0.5e-2 - 1e-5) / (1 + math.exp(-s)) + 1e-5)
    return kept


@pytest.mark.parametrize("step", [0, 1, 250, 500, 999])
def test_the_noise_is_a_step_of_the_forward_process(step: int) -> None:
    assert float(kept_shares()[step]) == pytest.approx(kept_by_hand(step), abs=1e-5)
    image = Image.new("RGB", (5, 3), (250, 20, 100))
    draws = torch.randn((3, 5, 3), generator=torch.Generator().manual_seed(9)).tolist()
    kept = kept_by_hand(step)
    found = disturbed(image, step, seed=9)
    for x in range(5):
        for y in range(3):
            for channel, value in enumerate((250, 20, 100)):
                noisy = math.sqrt(kept) * value / 255 + math.sqrt(1 - kept) * draws[y][x][channel]
                assert found.getpixel((x, y))[channel] == pytest.approx(255 * min(max(noisy, 0), 1) - 0.5, abs=0.51)


def test_the_noise_fades_as_in_the_paper(encoder: Encoder) -> None:
    """60 steps with half of the noise at step 40: the paper's training on Geometry3K."""
    noise = Noise(encoder, 500, 40 / 60, 60, 0)
    found = [noise.strength(step) for step in range(60)]
    assert found == [int(500 * (1 - 1 / (1 + math.exp(-30 * (step - 40) / 60)))) for step in range(1, 61)]
    assert (found[0], found[39], found[-1]) == (499, 250, 0)


def test_a_view_is_another_image_at_each_step_and_question_and_the_same_again(encoder: Encoder) -> None:
    [question] = questions(0, 1, "rl")
    prompt = encoder.prompt("<image>" + question.problem, [question.image, question.image])
    noise = Noise(encoder, 500, 0.67, 10, 0)
    view = noise.view(prompt, "a", 0)
    assert view.token_ids == prompt.token_ids
    assert torch.equal(view.image_grids, prompt.image_grids)
    assert torch.equal(view.pixel_values, noise.view(prompt, "a", 0).pixel_values)
    others = (
        noise.view(prompt, "b", 0),
        noise.view(prompt, "a", 1),
        dataclasses.replace(noise, seed=1).view(prompt, "a", 0),
    )
    images = [image.tobytes() for one in (prompt, view, *others) for image in one.images]
    assert len(set(images)) == 9  # the two clean ones are the same
    pixels = encoder.processor.image_processor(images=list(view.images), do_resize=False, return_tensors="pt")
    assert torch.equal(view.pixel_values, pixels["pixel_values"])


def test_settings_that_noise_contradicts_are_refused() -> None:
    once = {"questions_per_step": 8, "questions_per_update": 8}
    Settings(**PATHS, noise=500, **once)
    Settings(**PATHS, noise=500, old_logprobs="recompute")
    with pytest.raises(InputError, match="--noise 500: the sampler's probabilities"):
        Settings(**PATHS, noise=500)
    with pytest.raises(InputError, match="--samples 3: give an even number"):
        Settings(**PATHS, noise=500, samples=3, **once)


@pytest.fixture(scope="module")
def place() -> Any:
    from pebr.step.launch import join

    return join()


@pytest.mark.parametrize(
    "changes",
    [
        {"sampler_correction": "mask", "off_policy_limit": 0.1},
        {"sampler_correction": "truncate", "old_logprobs": "recompute"},
    ],
    ids=str,
)
def test_the_samplers_probabilities_of_disturbed_images_do_not_count(
    tiny_models: dict[str, Path], encoder: Encoder, place: Any, changes: Mapping[str, Any]
) -> None:
    """Whatever they are, the update and the drift are the same; those of clean images change both."""
    prompts = [encoder.prompt(q.problem, [q.image.resize((56, 56))]) for q in questions(0, 4, "rl")]
    experience = [e._replace(disturbed=[False, False, True, True]) for e in make_experience(prompts, random_rewards)]

    def shifted(first: int) -> list[Any]:
        return [
            e._replace(
                logprobs=[array("f", [v - 3.0 for v in values]) if place >= first else values
                          for place, values in enumerate(e.logprobs)]
            )
            for e in experience
        ]  # fmt: skip

    runs = []
    for given in (experience, shifted(2), shifted(0)):
        updates = [given[:2], given[2:]] if "old_logprobs" in changes else [given]
        made = updated(tiny_models["qwen2_5_vl"], encoder, place, prompts, updates, **changes)
        runs.append((made, made[0].drift.drift()))
    (plain, drift), (noisy, noisy_drift), (clean, clean_drift) = runs
    assert_same(plain, noisy)
    assert noisy_drift == drift != clean_drift
    first = experience[:2] if "old_logprobs" in changes else experience
    assert drift.tokens == sum(len(ids) for e in first for ids in e.token_ids[:2])
    assert plain[1][0].grad_norm != pytest.approx(clean[1][0].grad_norm, rel=1e-3)


@pytest.mark.slow
def test_half_of_the_answers_see_noise_and_training_still_raises_the_reward(command: Command, tmp_path: Path) -> None:
    learning = {"questions_per_update": 8, "save_every": 0, "epochs": 12, "futile_steps": 0, "samples": 8}
    finish(command(tmp_path / "noisy", **learning, noise=500, max_steps=30))
    finish(command(tmp_path / "plain", **learning, max_steps=1))
    rows = history(tmp_path / "noisy")
    assert [rows[0]["noise"], rows[-1]["noise"]] == [499, 0]
    assert max(row["drift/max"] for row in rows) < 1e-4
    first = {row["qid"]: row["responses"] for row in iter_rows(tmp_path / "noisy" / "rollouts") if row["step"] == 1}
    plain = {row["qid"]: row["responses"] for row in iter_rows(tmp_path / "plain" / "rollouts")}
    for qid, responses in first.items():
        texts, clean = ([response["text"] for response in group] for group in (responses, plain[qid]))
        assert texts[:4] == clean[:4]
        assert not set(texts[4:]) & set(clean)
    rewards = [row["reward"] for row in rows]
    assert fmean(rewards[-5:]) > fmean(rewards[:5]) + 0.03  # of 320 answers each: about four standard errors
    assert rows[0]["reward_noisy"] != rows[0]["reward"]
