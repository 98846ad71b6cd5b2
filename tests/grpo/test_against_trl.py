"""Advantages and loss equal those of TRL's trainer, on answers that its model generated."""

from typing import Any, NamedTuple

import pytest
import torch

from pebr.grpo.advantages import group_advantages
from pebr.grpo.loss import answer_weights
from pebr.grpo.objective import Tokens, objective
from pebr.grpo.settings import ObjectiveSettings
from pebr.training.logprobs import PolicyModel
from pebr.vlm.encoding import Encoder
from pebr.vlm.loading import load_model, load_processor
from pebr.vlm.rows import Group, pack

pytestmark = pytest.mark.slow

ANSWERS, QUESTIONS, LONGEST, TEMPERATURE = 4, 2, 12, 1.2
REWARDS = [0.1, 0.9, 0.4, 0.4, 1.0, 0.0, 0.0, 0.3]


class Batch(NamedTuple):
    """A training step of TRL's, and the same data in our types."""

    trainer: Any
    inputs: dict[str, Any]
    encoder: Encoder
    groups: list[Group]


def reward(completions: list[Any], **_: Any) -> list[float]:
    return REWARDS[: len(completions)]


def trl_trainer(path: Any, folder: Any, **options: Any) -> Any:
    from datasets import Dataset
    from PIL import Image
    from trl import GRPOConfig, GRPOTrainer

    arguments = GRPOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=ANSWERS * QUESTIONS,
        num_generations=ANSWERS,
        max_completion_length=LONGEST,
        temperature=TEMPERATURE,
        use_cpu=True,
        bf16=False,
        report_to=[],
        gradient_checkpointing=False,
        use_bias_correction_kl=False,
        **options,
    )
    # All prompts have the same length. Otherwise TRL 1.16 pads their token types on the wrong side, and images get
    # wrong rotary positions.
    images = [Image.effect_noise((56, 84), 90).convert("RGB") for _ in range(QUESTIONS)]
    rows = [{"prompt": [{"role": "user", "content": "How many?"}], "image": image} for image in images]
    return GRPOTrainer(
        model=load_model(path),
        reward_funcs=reward,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=load_processor(path),
    ), rows


def generated(path: Any, folder: Any, **options: Any) -> Batch:
    """A training step of TRL's: its own sampling, rewards and advantages."""
    trainer, rows = trl_trainer(path, folder, **options)
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1  # normally set by its train()
    torch.manual_seed(0)
    inputs = trainer._generate_and_score_completions([row for row in rows for _ in range(ANSWERS)])
    encoder = Encoder(load_processor(path))
    groups = []
    for question in range(QUESTIONS):
        first = question * ANSWERS
        prompt_ids = inputs["prompt_ids"][first][inputs["prompt_mask"][first].bool()].tolist()
        patches = inputs["image_grid_thw"].prod(-1)
        start = int(patches[:first].sum())
        prompt = encoder.prompt("a", [])._replace(
            token_ids=prompt_ids,
            image_grids=inputs["image_grid_thw"][first : first + 1],
            pixel_values=inputs["pixel_values"][start : start + int(patches[first])],
        )
        numbers = range(first, first + ANSWERS)
        answers = [inputs["completion_ids"][i][inputs["completion_mask"][i].bool()].tolist() for i in numbers]
        groups.append(Group(prompt, answers, numbers))
    return Batch(trainer, inputs, encoder, groups)


@torch.no_grad()
def own_logprobs(batch: Batch, model: Any, shape: torch.Size) -> torch.Tensor:
    """The model's log-probabilities of TRL's answers, in TRL's layout."""
    table = torch.zeros(shape)
    for row in pack(batch.groups, 120, batch.encoder):
        table[row.segments, row.offsets], _ = PolicyModel(model)(row, TEMPERATURE)
    return table


def our_loss(batch: Batch, model: Any, settings: ObjectiveSettings, old: Any, reference: Any) -> torch.Tensor:
    """Our loss on TRL's batch, with its advantages."""
    lengths = batch.inputs["completion_mask"].sum(1).tolist()
    weights = answer_weights(lengths, sum(lengths), len(lengths), settings.normalisation, LONGEST)
    total = torch.zeros(())
    for row in pack(batch.groups, 120, batch.encoder):
        logprobs, entropies = PolicyModel(model)(row, TEMPERATURE)
        tokens = Tokens(
            logprobs,
            entropies,
            advantages=batch.inputs["advantages"][row.segments],
            weights=weights[row.segments],
            sampler_logprobs=old[row.segments, row.offsets],
            old_logprobs=old[row.segments, row.offsets],
            reference_logprobs=reference[row.segments, row.offsets],
            blind_logprobs=None,
            lengths=row.segments.unique_consecutive(return_counts=True)[1],
        )
        total = total + objective(tokens, settings)[0]
    return total


CASES = {
    "dapo": ({"loss_type": "dapo"}, {}),
    "bnpo": ({"loss_type": "bnpo"}, {}),
    "grpo": ({"loss_type": "grpo"}, {"normalisation": "sequence"}),
    "dr_grpo": ({"loss_type": "dr_grpo"}, {"normalisation": "dr_grpo"}),
    "gspo": (
        {"loss_type": "grpo", "importance_sampling_level": "sequence"},
        {"normalisation": "sequence", "ratio": "sequence", "clip_dual": 0.0},
    ),
    "cispo": ({"loss_type": "cispo", "epsilon_high": 1.3}, {"surrogate": "cispo", "clip_low": 1.0}),
    "off-policy mask": ({"loss_type": "dapo", "off_policy_mask_threshold": 0.05}, {"off_policy_limit": 0.05}),
    "entropy bonus": ({"loss_type": "dapo", "entropy_coef": 0.1}, {"entropy_weight": 0.1}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("beta", [0.0, 0.05])
def test_loss_and_every_gradient_are_trls(tiny_models, tmp_path, case, beta):
    path = tiny_models["qwen2_5_vl"]
    of_trl, ours = CASES[case]
    bounds = {"epsilon": 0.2, "epsilon_high": 0.3} | ({} if ours.get("clip_dual") == 0 else {"delta": 3.0})
    batch = generated(path, tmp_path, beta=beta, **(bounds | of_trl))
    torch.manual_seed(1)
    model = batch.trainer.model
    shape = batch.inputs["completion_ids"].shape
    # Policies are so close that only some tokens are clipped, and no KL estimate reaches our limit: TRL has none.
    old, reference = (own_logprobs(batch, load_model(path), shape) + 0.6 * torch.randn(shape) for _ in range(2))
    batch.inputs["old_per_token_logps"], batch.inputs["ref_per_token_logps"] = old, reference

    expected = batch.trainer._compute_loss(model, batch.inputs)
    expected.backward()
    wanted = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}

    policy = load_model(path)
    found = our_loss(batch, policy, ObjectiveSettings(kl_weight=beta, ratio_cap=0.0, **ours), old, reference)
    found.backward()
    torch.testing.assert_close(found, expected.detach(), rtol=1e-5, atol=1e-6)
    scale = max(float(gradient.norm()) for gradient in wanted.values())
    for name, parameter in policy.named_parameters():
        difference = float((parameter.grad - wanted[name]).norm())
        assert difference < 1e-5 * float(wanted[name].norm()) + 1e-6 * scale, name


@pytest.mark.parametrize(("scale_rewards", "kind"), [("group", "std"), ("none", "mean")])
def test_advantages_are_trls(tiny_models, tmp_path, scale_rewards, kind):
    batch = generated(tiny_models["qwen2_5_vl"], tmp_path, scale_rewards=scale_rewards)
    groups = [REWARDS[:ANSWERS], REWARDS[ANSWERS:]]
    found = torch.cat(group_advantages(groups, kind))
    if kind == "std":  # TRL adds 1e-4 to the deviation; we and the method's released code add 1e-6
        deviations = torch.tensor(groups).std(dim=1).repeat_interleave(ANSWERS)
        found = found * (deviations + 1e-6) / (deviations + 1e-4)
    torch.testing.assert_close(found, batch.inputs["advantages"], rtol=1e-5, atol=1e-6)
