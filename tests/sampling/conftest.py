"""Tiny models of all families, and questions encoded for them."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from pebr.sampling.contract import Sampler, SamplingSettings
from pebr.toy.vlm import build_model
from pebr.toy.world import questions
from pebr.vlm.encoding import Encoder, Prompt
from pebr.vlm.loading import load_model, load_processor

FAMILIES = ("qwen2_5_vl", "qwen3_vl")  # that both engines are tested with


class Tiny(NamedTuple):
    """A model directory, its loaded model, and encoded questions."""

    path: Path
    model: Any
    encoder: Encoder
    prompts: list[Prompt]
    question_ids: list[str]

    def logprobs(self, prompt: Prompt, token_ids: list[int], temperature: float, top_p: float = 1.0) -> torch.Tensor:
        """(R,) log-probabilities of an answer by one plain forward pass of transformers over prompt and answer."""
        ids = torch.tensor([prompt.token_ids + token_ids])
        with torch.no_grad():
            logits = self.model(
                input_ids=ids,
                pixel_values=prompt.pixel_values,
                image_grid_thw=prompt.image_grids,
                mm_token_type_ids=(ids == self.model.config.image_token_id).int(),
            ).logits[0]
        logits = logits[len(prompt.token_ids) - 1 : -1] / temperature
        logits[:, list(self.encoder.banned_token_ids)] = -torch.inf
        if top_p < 1:
            for row in logits:
                tokens = row.softmax(-1).argsort(descending=True).tolist()
                kept = next(k for k in range(1, len(row) + 1) if row.softmax(-1)[tokens[:k]].sum() >= top_p)
                row[tokens[kept:]] = -torch.inf
        return logits.log_softmax(-1).gather(1, torch.tensor(token_ids)[:, None])[:, 0]

    def difference(self, sampler: Sampler, settings: SamplingSettings) -> float:
        """The largest difference between the log-probabilities of a sampler and those of the model now."""
        answers = sampler.sample(self.prompts, self.question_ids, settings, 0)
        pairs = [(prompt, sample) for prompt, group in zip(self.prompts, answers, strict=True) for sample in group]
        return max(
            (torch.tensor(sample.logprobs) - self.logprobs(prompt, sample.token_ids, settings.temperature)).abs().max()
            for prompt, sample in pairs
        ).item()

    def change(self, part: str, seed: int = 0) -> None:
        """Change all weights whose names contain `part`."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                if part in name:
                    parameter.mul_(1 + 0.5 * torch.randn(parameter.shape, generator=generator))


@pytest.fixture(scope="session", params=FAMILIES)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return make_tiny(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="session", params=["3b", "7b"])
def hub_like(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A model whose config.json has the layout of Qwen2.5-VL 3B (tied head) or 7B (separate head)."""
    made = make_tiny(tmp_path_factory.mktemp(request.param), "qwen2_5_vl", tied=request.param == "3b")
    file = made.path / "config.json"
    config = json.loads(file.read_text())
    text = config.pop("text_config")
    rope = text.pop("rope_parameters")
    flat = {
        **{name: value for name, value in text.items() if name not in ("model_type", "layer_types")},
        **config,
        "rope_theta": rope["rope_theta"],
        "rope_scaling": {"type": "mrope", "mrope_section": rope["mrope_section"]},
    }
    file.write_text(json.dumps(flat))
    return made._replace(model=load_model(made.path))


def make_tiny(path: Path, family: str, tied: bool = True) -> Tiny:
    torch.set_num_threads(1)
    build_model(path, 0, family, width=64, layers=2, vision_width=64, tied=tied)
    model = load_model(path)
    sharpen(model)
    model.save_pretrained(path)
    encoder = Encoder(load_processor(path))
    asked = list(questions(0, 5, "rl"))
    prompts = [encoder.prompt(question.problem, [question.image]) for question in asked[:3]]
    prompts.append(encoder.prompt("<image>Is <image> the same?", [asked[3].image, asked[4].image.resize((84, 140))]))
    prompts.append(encoder.prompt("What is one and one?", []))
    return Tiny(path, model, encoder, prompts, [f"question {i}" for i in range(len(prompts))])


def sharpen(model: Any) -> None:
    """Make the next-token distribution of random weights uneven, so that a wrong one differs clearly."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "embed" not in name and "visual" not in name:
                parameter.mul_(8)
            elif parameter.ndim == 1 and "bias" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
        model.model.language_model.norm.weight.mul_(15)
