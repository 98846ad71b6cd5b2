"""One GRPO update (forward, backward, optimizer step) in three ways, on the same answers, in alternation.

    make bench NAME=grpo_update

rows:   this project: a group is one row, through `pebr.grpo.update` and the DeepSpeed engine; with all activations
        kept, and with activations recomputed in the backward pass (gradient checkpointing)
copies: the same code with one row per answer, as if there were no group rows
trl:    TRL's GRPOTrainer with its own loss and layout, at several micro-batch sizes. At the judged shape: all sizes
        that divide a group, and the smallest size also with recomputed activations

All use the same weights and answers, float32, no KL term, prompts with 70 % image tokens, and 8 answers of one length
(so that TRL pads nothing). The first round also checks that the gradient norms of all ways agree. (The loss itself is 0
for all: centred advantages, ratio 1.) Goal at prompts of 1000 and answers of 400 tokens, for rows with recomputation:
2.5 times the speed of TRL at its fastest, with less memory than TRL at its smallest. The printed ratio is the smaller
of the two, in units of its goal.
"""

import tempfile
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from PIL import Image

from benchmarks.result import finish, peak_bytes
from pebr.grpo.advantages import group_advantages
from pebr.grpo.experience import Experience
from pebr.grpo.micro_batches import Packer
from pebr.grpo.settings import ObjectiveSettings
from pebr.grpo.update import Updater
from pebr.step.launch import join
from pebr.toy.vlm import build_model
from pebr.training.engine import EngineSettings, TrainingEngine
from pebr.training.logprobs import PolicyModel
from pebr.vlm.encoding import Encoder, Prompt
from pebr.vlm.loading import load_model, load_processor

ANSWERS = 8
SHAPES = ((1000, 200), (1000, 400), (1000, 800), (300, 400))  # tokens of prompt and answer
JUDGED = (1000, 400)
GOAL = 2.5
ROUNDS = 3
TRL_MICRO_BATCHES = (8, 4, 2, 1)  # at the judged shape
TRL_MICRO_BATCHES_ELSEWHERE = (8, 2)  # fewer, to save time
IMAGES = {1000: (756, 728), 300: (420, 392)}  # px: 702 and 210 image tokens
TEMPERATURE = 1.2
REWARDS = [0.1, 0.9, 0.4, 0.4, 1.0, 0.0, 0.0, 0.3]
LEARNING_RATE = 1e-6

Update = Callable[[], float]  # returns the gradient norm


def make_prompt(encoder: Encoder, tokens: int) -> Prompt:
    """A prompt of exactly `tokens` tokens."""
    noise = Image.effect_noise(IMAGES[tokens], 80).convert("RGB")
    prompt = encoder.prompt("<image>How many red bars?", [noise])
    filling = torch.randint(20, 400, (tokens - len(prompt.token_ids),)).tolist()
    return prompt._replace(token_ids=prompt.token_ids + filling)


def our_update(
    path: Path, encoder: Encoder, prompt: Prompt, answers: list[list[int]], tokens_per_row: int, recomputing: bool
) -> Update:
    """The update of `rows`, or of `copies` if no two answers fit into `tokens_per_row`."""
    settings = ObjectiveSettings(kl_weight=0.0)
    model = load_model(path)
    engine = TrainingEngine(
        PolicyModel(model),
        EngineSettings(
            LEARNING_RATE, total_steps=1000, weight_decay=0.01, gradient_checkpointing="on" if recomputing else "off"
        ),
        join(),
        weights=model,
    )
    packer = Packer(encoder, lambda _: prompt, settings, tokens_per_row, 2048, engine.rank, engine.world_size)
    updater = Updater(engine, None, packer, settings, TEMPERATURE)
    size = len(answers)
    experience = Experience(
        row=0,
        question={},
        prompt_tokens=len(prompt.token_ids),
        token_ids=[array("l", ids) for ids in answers],
        logprobs=[array("f", [0.0] * len(ids)) for ids in answers],
        finish_reasons=["stop"] * size,
        responses=[""] * size,
        rewards=REWARDS,
        components={},
        advantages=group_advantages([REWARDS], "mean")[0],
    )
    return lambda: updater.step([[experience]])[0].grad_norm


def trl_update(
    path: Path,
    encoder: Encoder,
    prompt: Prompt,
    answers: list[list[int]],
    micro_batch: int,
    recomputing: bool,
    folder: Path,
) -> Update:
    """The update of TRL: loss, backward, gradient clipping and optimizer step, as its trainer does them."""
    trainer = trl_trainer(load_model(path), encoder, len(answers[0]), micro_batch, folder)
    if recomputing:  # which the trainer does when its loop starts
        trainer.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model, optimizer = trainer.model.train(), trainer.optimizer
    batches = trl_batches(encoder, prompt, answers, micro_batch)

    def update() -> float:
        for inputs in batches:
            trainer._compute_loss(model, inputs).backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return float(norm)

    return update


def trl_trainer(model: Any, encoder: Encoder, answer_tokens: int, micro_batch: int, folder: Path) -> Any:
    """A GRPOTrainer of a model, in the model's format and on its device, with its optimizer."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    accumulation = ANSWERS // micro_batch
    trainer: Any = GRPOTrainer(
        model=model,
        reward_funcs=_no_reward,
        args=GRPOConfig(
            output_dir=str(folder),
            per_device_train_batch_size=micro_batch,
            gradient_accumulation_steps=accumulation,
            num_generations=ANSWERS,
            max_completion_length=answer_tokens,
            temperature=TEMPERATURE,
            learning_rate=LEARNING_RATE,
            weight_decay=0.01,
            loss_type="dapo",
            beta=0.0,
            gradient_checkpointing=False,
            use_cpu=model.device.type == "cpu",
            bf16=False,
            report_to=[],
        ),
        train_dataset=Dataset.from_list([{"prompt": "a"}] * ANSWERS),
        processing_class=encoder.processor,
    )
    trainer.current_gradient_accumulation_steps = accumulation
    trainer.create_optimizer()
    return trainer


def trl_batches(
    encoder: Encoder, prompt: Prompt, answers: list[list[int]], micro_batch: int
) -> list[dict[str, torch.Tensor | list[int]]]:
    """The answers as micro-batches of TRL's loss."""
    advantages = group_advantages([REWARDS], "mean")[0]
    prompt_ids = torch.tensor([prompt.token_ids]).expand(micro_batch, -1)
    kinds = (prompt_ids == encoder.image_token_id).int()
    batches: list[dict[str, torch.Tensor | list[int]]] = []
    for start in range(0, ANSWERS, micro_batch):
        completion_ids = torch.tensor(answers[start : start + micro_batch])
        batches.append(
            {
                "prompt_ids": prompt_ids,
                "prompt_mask": torch.ones_like(prompt_ids),
                "completion_ids": completion_ids,
                "completion_mask": torch.ones_like(completion_ids),
                "advantages": advantages[start : start + micro_batch],
                "num_items_in_batch": torch.tensor(sum(len(ids) for ids in answers)),
                "pixel_values": prompt.pixel_values.repeat(micro_batch, 1),  # type: ignore[union-attr]
                "image_grid_thw": prompt.image_grids.repeat(micro_batch, 1),  # type: ignore[union-attr]
                "num_images": [1] * micro_batch,
                "mm_token_type_ids": torch.cat([kinds, torch.zeros_like(completion_ids)], dim=1),
            }
        )
    return batches


def _no_reward(completions: list[object], **_: object) -> list[float | None]:
    return [0.0] * len(completions)


def measure(shape: tuple[int, int], path: Path, encoder: Encoder, folder: Path) -> dict[str, dict[str, Any]]:
    """Measure the seconds (median) and the peak memory of each way."""
    prompt = make_prompt(encoder, shape[0])
    answers = torch.randint(20, 400, (ANSWERS, shape[1])).tolist()
    ways: dict[str, Update] = {
        "rows": our_update(path, encoder, prompt, answers, 16384, recomputing=False),
        "rows, recomputing": our_update(path, encoder, prompt, answers, 16384, recomputing=True),
        "copies": our_update(path, encoder, prompt, answers, 1, recomputing=False),
    }
    for size in TRL_MICRO_BATCHES if shape == JUDGED else TRL_MICRO_BATCHES_ELSEWHERE:
        ways[f"trl, {size} at a time"] = trl_update(path, encoder, prompt, answers, size, False, folder)
    if shape == JUDGED:
        ways["trl, 1 at a time, recomputing"] = trl_update(path, encoder, prompt, answers, 1, True, folder)
    norms = {way: update() for way, update in ways.items()}  # also the warm-up
    assert max(norms.values()) < 1.001 * min(norms.values()), norms
    peaks = {way: peak_bytes(update) for way, update in ways.items()}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, update in ways.items():
            started = time.perf_counter()
            update()
            seconds[way].append(time.perf_counter() - started)
    found = {way: {"seconds": round(median(seconds[way]), 3), "peak_mb": round(peaks[way] / 1e6)} for way in ways}
    theirs = [found[way] for way in ways if way.startswith("trl")]
    least = {
        key: min(way[key] for way in theirs) for key in ("seconds", "peak_mb")
    }  # each at its best micro-batch size
    over = {
        f"trl_over_{way}": {key: round(value / found[way][key], 2) for key, value in least.items()}
        for way in ("rows", "rows, recomputing")
    }
    result: dict[str, dict[str, Any]] = {"ways": found, **over}
    print(shape, result, flush=True)
    return result


def main() -> None:
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = build_model(folder / "model", 0)
        encoder = Encoder(load_processor(path))
        shapes = {f"{p}/{r}": measure((p, r), path, encoder, folder / "trl") for p, r in SHAPES}
    judged = shapes[f"{JUDGED[0]}/{JUDGED[1]}"]["trl_over_rows, recomputing"]
    ratio = min(judged["seconds"], GOAL * judged["peak_mb"])
    finish("grpo_update", ratio, GOAL, {"threads": torch.get_num_threads(), "shapes": shapes})


if __name__ == "__main__":
    main()
