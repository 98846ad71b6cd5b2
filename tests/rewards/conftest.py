"""Fixtures of the reward tests: a tiny CLIP with random weights, images, batches of responses."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

import pebr.vlm.torchvision_operators  # noqa: F401 - makes torchvision importable
from pebr.rewards.batch import RewardBatch
from pebr.rewards.clip import ClipScorer, load_scorer

GOOD = """### Image Description:
{description}

### Rationales:
Look at the shapes.

### Let's think step by step.

### Step 1:
Count them.

### The final answer is:
{answer}"""


@pytest.fixture(scope="session")
def clip_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An open_clip directory with random weights: 32 px, two layers."""
    from open_clip.model import CLIP
    from safetensors.torch import save_file

    directory = tmp_path_factory.mktemp("clip")
    config = {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    }
    torch.manual_seed(0)
    save_file({name: tensor.contiguous() for name, tensor in CLIP(**config).state_dict().items()},
              directory / "open_clip_model.safetensors")  # fmt: skip
    normal = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    (directory / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": normal}))
    return directory


@pytest.fixture(scope="session")
def scorer(clip_directory: Path) -> ClipScorer:
    return load_scorer(str(clip_directory))


def image_file(seed: int, side: int = 40) -> bytes:
    """A PNG of noise."""
    pixels = torch.randint(0, 256, (side, side, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="session")
def image_files() -> list[bytes]:
    return [image_file(seed) for seed in range(4)]


@pytest.fixture
def make_batch(image_files: list[bytes]) -> Callable[..., RewardBatch]:
    """Make a batch of responses. Every sample has the same question, unless a column is given."""

    def make(responses: list[str], **columns: list) -> RewardBatch:  # type: ignore[type-arg]
        count = len(responses)
        defaults = {
            "qids": [f"q{index}" for index in range(count)],
            "questions": ["<image>How many?"] * count,
            "references": ["7"] * count,
            "response_tokens": [100] * count,
            "key_words": [["circle"]] * count,
            "images": [[image_files[0]]] * count,
            "extra": {},
        }
        return RewardBatch(responses=responses, **(defaults | columns))  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def good() -> Callable[..., str]:
    """Write a well-formed response."""

    def write(description: str = "There is a red circle.", answer: str = "7") -> str:
        return GOOD.format(description=description, answer=answer)

    return write
