"""Memory plan of training, computed and logged before a model is loaded; what cannot fit is refused at once.

The parts follow from the number of weights and from how ZeRO shards them over the ranks (arXiv 1910.02054, section 3).
They are estimates: fragments and the libraries' own memory come on top, for which `RESERVE` is left.
"""

import logging
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import torch

from pebr.errors import InputError
from pebr.sampling.memory import free_memory, host_memory
from pebr.training.engine_settings import EngineSettings
from pebr.training.logprobs import CHUNK_VALUES
from pebr.training.recomputation import kept
from pebr.vlm.families import family_of
from pebr.vlm.families.contract import Config
from pebr.vlm.loading import DTYPES, load_config

log = logging.getLogger(__name__)

GIB = 2**30
RESERVE = 0.95  # share of a device that is planned for
BUCKET = 500_000_000  # elements that ZeRO reduces together
CHUNK_COPIES = 12  # bytes per logit of a chunk of the output head: values, probabilities, gradient


@dataclass(frozen=True)
class Plan:
    """Bytes on one device."""

    weights: int
    gradients: int
    moments: int  # of AdamW, with the float32 weights
    reference: int
    activations: int  # of a row with all layers recomputing: `auto` uses more where there is more
    buffers: int  # weights that are gathered for a layer, gradients that are exchanged
    sampler: int  # vLLM, while it is awake
    host: int  # in the host's memory, by this rank

    @property
    def training(self) -> int:
        """The peak of an update: the sampler is asleep."""
        return self.weights + self.gradients + self.moments + self.reference + self.activations + self.buffers

    @property
    def sampling(self) -> int:
        """The peak of sampling: no activations and buffers."""
        return self.weights + self.gradients + self.moments + self.reference + self.sampler

    def describe(self) -> str:
        """Parts and peaks in GiB."""
        parts = ", ".join(f"{field.name} {getattr(self, field.name) / GIB:.1f}" for field in fields(self))
        return f"{parts} GiB; peak {self.training / GIB:.1f} in training, {self.sampling / GIB:.1f} in sampling"


@dataclass(frozen=True)
class Sizes:
    """Numbers of a model that its memory follows from."""

    weights: int
    trained: int
    largest: int  # weights of the largest layer, or of the embedding

    @classmethod
    def of(cls, config: Config, trains_vision: bool = True, lora_rank: int = 0) -> "Sizes":
        """From a model's configuration; no weight is made."""
        from transformers import AutoModelForImageTextToText

        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(config)
        family = family_of(config)
        text = model.get_submodule(family.language_model)
        towers = sum(p.numel() for name in family.vision for p in model.get_submodule(name).parameters())
        total = sum(p.numel() for p in model.parameters())
        linear = [module for module in text.modules() if isinstance(module, torch.nn.Linear)]
        adapters = sum(lora_rank * (module.in_features + module.out_features) for module in linear)
        layer = sum(p.numel() for p in text.layers[0].parameters())
        largest = max(layer, model.get_input_embeddings().weight.numel())
        return cls(total, adapters if lora_rank else total - (0 if trains_vision else towers), largest)


def plan(
    config: Config,
    sizes: Sizes,
    settings: EngineSettings,
    ranks: int,
    reference: Literal["none", "device", "host"] = "none",
    sampler: int = 0,
) -> Plan:
    """The memory of one rank's device; `sampler` is what vLLM may use of it, in bytes."""
    stage, size = settings.zero_stage, DTYPES[settings.dtype].itemsize
    weights = sizes.weights * size // (ranks if stage == 3 else 1)
    gradients = 4 * sizes.trained // (ranks if stage >= 2 else 1)
    copies = 8 if settings.dtype == "fp32" else 12  # bytes per weight: two moments, and float32 weights beside bf16
    moments = copies * sizes.trained // (ranks if stage >= 1 else 1)
    on_device = weights if reference == "device" else 0  # sharded, or whole, as the policy is
    host = sizes.weights * size // ranks if reference == "host" else 0
    buffers = 0
    if stage and ranks > 1:
        buffers += min(BUCKET, sizes.trained) * size
    if stage == 3 or reference == "host":
        buffers += 2 * sizes.largest * size  # one layer computes while the next is gathered
    if settings.offload == "optimizer":
        host, gradients, moments = host + gradients + moments, 0, 0
    activations = _activations(config, size, settings.row_tokens)
    return Plan(weights, gradients, moments, on_device, activations, buffers, sampler, host)


def _activations(config: Config, itemsize: int, tokens: int) -> int:
    """Of a row whose tokens are all of images, with every layer recomputing; and the logits of a chunk."""
    text, vision = config.get_text_config(), config.vision_config
    patches = tokens * vision.spatial_merge_size**2
    of_text, of_vision = kept(text, itemsize, text.num_hidden_layers), kept(vision, itemsize, vision.depth)
    inputs = tokens * of_text.layers * of_text.input + patches * of_vision.layers * of_vision.input
    again = max(tokens * of_text.whole, patches * of_vision.whole)  # the layer that is computed again
    return inputs + again + CHUNK_COPIES * min(CHUNK_VALUES, tokens * text.vocab_size)


def check_memory(
    path: Path | str,
    settings: EngineSettings,
    ranks: int,
    trains_vision: bool,
    lora_rank: int,
    reference: Literal["none", "device", "host"] = "none",
    memory_share: float = 0.0,
) -> None:
    """Log the plan of this rank before a model is loaded.

    Args:
        path: Hugging Face directory of the model.
        settings: of the training engine.
        ranks: number of ranks.
        trains_vision: whether the vision tower is trained.
        lora_rank: of the adapters; 0 for none.
        reference: where the reference model lies.
        memory_share: of a GPU, that vLLM may use.

    Raises:
        InputError: it cannot fit.
    """
    config = load_config(path)
    total, free, name = free_memory()
    here = int(os.environ.get("LOCAL_WORLD_SIZE", ranks))
    host = host_memory()
    if name == "CPU":  # the ranks share the memory that is a device's elsewhere
        total, free = total // here, free // here
    sizes = Sizes.of(config, trains_vision, lora_rank)
    check(plan(config, sizes, settings, ranks, reference, int(memory_share * total)), free, host, here, name)


def check(plan: Plan, device_bytes: int, host_bytes: int, ranks_here: int, name: str) -> None:
    """Log a plan, and refuse one that cannot fit.

    Args:
        plan: of one rank.
        device_bytes: free memory of a device.
        host_bytes: free memory of the host.
        ranks_here: ranks on this host.
        name: of the device.

    Raises:
        InputError: it does not fit; the message says by how much and what to change.
    """
    log.info("memory of each rank (%s, %.1f GiB free): %s", name, device_bytes / GIB, plan.describe())
    peak, allowed = max(plan.training, plan.sampling), int(RESERVE * device_bytes)
    if peak > allowed:
        raise InputError(
            f"training needs about {peak / GIB:.1f} GiB of {name}, and {allowed / GIB:.1f} can be planned for"
            f" ({plan.describe()}): use more GPUs, --zero-stage 3, --offload optimizer, --reference host, --lora-rank,"
            " a smaller --tokens-per-batch or --memory-share"
        )
    need = plan.host * ranks_here
    if need > host_bytes:
        raise InputError(
            f"the ranks need {need / GIB:.1f} GiB of the host's memory, and {host_bytes / GIB:.1f} are free: use"
            " --offload none or --reference device, or a machine with more memory"
        )
