"""Noisy views: half of a group's answers are sampled from a disturbed image (NoisyRollout, arXiv 2504.13055).

The noise is a step of a diffusion's forward process: x_t = sqrt(a_t) x + sqrt(1 - a_t) e with e ~ N(0, 1), pixels in
[0, 1], clipped to [0, 1] afterwards; a_t is the product of 1 - b_i up to t, b_i = 1e-5 + (0.005 - 1e-5) sigmoid(s_i),
and s_i are 1000 even steps from -6 to 6. It fades during the training: t = t_0 (1 - sigmoid(30 (n - m) / N)), rounded
down, in training step n (from 1) of N, with half of it left in step m. This is the paper's equation and its code.

The update sees clean images alone, so nothing else in the training changes: the trainer's log-probabilities, old ones
and the reference's are those of the clean image. The sampler's are of another prompt, and are not used.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pebr.sampling.contract import sample_seed
from pebr.vlm.encoding import Encoder, Prompt

DIFFUSION_STEPS = 1000
SLOPE = 30.0  # of the sigmoid by which the noise fades


@cache
def kept_shares() -> Tensor:
    """a_t of every diffusion step, (1000,): the share of the image's variance that is left."""
    rates = torch.linspace(-6, 6, DIFFUSION_STEPS).sigmoid() * (0.5e-2 - 1e-5) + 1e-5
    return (1 - rates).cumprod(0)


def disturbed(image: Image.Image, strength: int, seed: int) -> Image.Image:
    """An RGB image with the noise of a diffusion step.

    >>> disturbed(Image.new("RGB", (2, 2), "red"), 0, seed=0).getpixel((0, 0))[0] > 240
    True
    """
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.from_numpy(np.array(image)).float() / 255  # (H, W, 3)
    noise = torch.randn(pixels.shape, generator=generator)
    share = kept_shares()[strength]
    noisy = (share.sqrt() * pixels + (1 - share).sqrt() * noise).clamp(0, 1)
    return Image.fromarray((noisy * 255).byte().numpy())


@dataclass(frozen=True)
class Noise:
    """The noise of a run."""

    encoder: Encoder
    start: int  # diffusion steps before the noise fades, t_0
    half_at: float  # share of the training steps after which half of them are left, m / N
    steps: int  # training steps of the run, N
    seed: int

    def strength(self, step: int) -> int:
        """The diffusion steps of a training step, counted from 0."""
        return int(self.start * (1 - 1 / (1 + math.exp(-SLOPE * ((step + 1) / self.steps - self.half_at)))))

    def view(self, prompt: Prompt, qid: str, step: int) -> Prompt:
        """A question with disturbed images. The noise follows from the seed, step, question and place of the image."""
        strength = self.strength(step)
        images = [
            disturbed(image, strength, sample_seed(self.seed, step, f"noise/{qid}", place))
            for place, image in enumerate(prompt.images)
        ]
        return self.encoder.with_images(prompt, images)
