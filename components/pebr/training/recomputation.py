"""Which layers recompute their activations in the backward pass: less memory, more arithmetic.

With `every=k` each k-th layer of the text model and of the vision tower keeps only its input. `auto` recomputes as few
layers as the free memory needs, judged by an estimate of what a row's forward pass keeps.
"""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from pebr.training.settings import RECOMPUTATION
from pebr.vlm.families import family_of
from pebr.vlm.rows import Row

log = logging.getLogger(__name__)

NEVER = 0
STEPS = (NEVER, 4, 3, 2, 1)  # the intervals that `auto` tries, least arithmetic first
RESERVE = 0.85  # share of the free memory that may be planned for: the rest is for fragments and working memory


def interval(value: str) -> int:
    """Every how many layers one recomputes; 0 for never.

    >>> interval("on"), interval("every=3"), interval("off")
    (1, 3, 0)
    """
    match = RECOMPUTATION.fullmatch(value)
    return int(match[1]) if match and match[1] else int(value == "on")


def use(model: nn.Module, every: int) -> None:
    """Let every `every`-th layer recompute, 0 for none."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    enable: Any = model.gradient_checkpointing_enable
    enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    stacks = (module for module in model.modules() if isinstance(module, nn.ModuleList))
    for stack in stacks:
        for number, layer in enumerate(stack):
            if isinstance(layer, GradientCheckpointingLayer):
                layer.gradient_checkpointing = bool(every) and number % every == 0


class Kept(NamedTuple):
    """Bytes that one layer's forward pass keeps for the backward pass, per token (or patch)."""

    layers: int
    whole: int  # of a layer that does not recompute
    input: int  # of a layer that does


def kept(part: Any, itemsize: int, layers: int) -> Kept:
    """What a layer keeps: inputs of its matrix products, its norms, rotary embedding, attention, gated MLP.

    Args:
        part: configuration of the text model, or of the vision tower.
        itemsize: bytes of a value in the model's format.
        layers: number of layers.
    """
    fields = part.to_dict()
    width, inner = int(part.hidden_size), int(part.intermediate_size)
    heads = int(fields.get("num_attention_heads") or fields["num_heads"])
    head = int(fields.get("head_dim") or width // heads)
    query, key = heads * head, int(fields.get("num_key_value_heads") or heads) * head
    # Per norm: its input in float32, the normalised values, its output.
    norms = 2 * width * (4 + 2 * itemsize)
    rotary = 2 * (query + key) * (itemsize if "num_heads" not in fields else 4)  # the vision tower's is in float32
    attention = itemsize * (2 * query + 2 * key)
    mlp = itemsize * 4 * inner
    return Kept(layers, norms + rotary + attention + mlp, width * itemsize)


def bytes_kept(model: nn.Module, tokens: int, patches: int, every: int) -> int:
    """Bytes that the forward pass of a row keeps if every `every`-th layer recomputes."""
    config: Any = model.config
    itemsize = next(p.dtype.itemsize for p in model.parameters())
    text, vision = config.get_text_config(), config.vision_config
    total = 0
    for part, layers, length in ((text, text.num_hidden_layers, tokens), (vision, vision.depth, patches)):
        each = kept(part, itemsize, layers)
        recomputed = -(-layers // every) if every else 0
        again = each.whole if recomputed else 0  # while a layer is computed again
        total += length * (recomputed * each.input + (layers - recomputed) * each.whole + again)
    return total


def choose(model: nn.Module, micro_batches: Sequence[object], row_tokens: int, device: torch.device) -> int:
    """The least recomputation with which a row fits into the free memory; the log says what it is and why.

    On a CPU all layers recompute, as memory there is shared with other processes.

    Args:
        model: the Hugging Face model.
        micro_batches: of the first update: they show how many patches a token has.
        row_tokens: of the longest row to be expected.
        device: of the model.
    """
    if device.type != "cuda":
        log.info("gradient checkpointing auto: on (on a CPU)")
        return 1
    rows = [row for row in (getattr(batch, "row", batch) for batch in micro_batches) if isinstance(row, Row)]
    tokens = sum(row.tokens for row in rows)
    patches = sum(len(row.pixel_values) for row in rows)
    towers = (model.get_submodule(name) for name in family_of(model.config).vision)
    if not any(parameter.requires_grad for tower in towers for parameter in tower.parameters()):
        patches = 0  # a frozen tower keeps nothing
    longest = max([row_tokens, *(row.tokens for row in rows)])
    of_longest = patches * longest // max(tokens, 1)
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(device)
    return fitting(model, longest, of_longest, free)


def fitting(model: nn.Module, tokens: int, patches: int, free: int) -> int:
    """The first of `STEPS` with which a row fits into `free` bytes; 1 if none does."""
    sizes = {every: bytes_kept(model, tokens, patches, every) for every in STEPS}
    chosen = next((every for every, size in sizes.items() if size <= RESERVE * free), 1)
    log.info(
        "gradient checkpointing auto: %s (a row of %d tokens and %d patches keeps about %.1f GiB of %.1f GiB free;"
        " %.1f without recomputation)",
        {NEVER: "off", 1: "on"}.get(chosen, f"every={chosen}"),
        tokens,
        patches,
        sizes[chosen] / 2**30,
        free / 2**30,
        sizes[NEVER] / 2**30,
    )
    return chosen
