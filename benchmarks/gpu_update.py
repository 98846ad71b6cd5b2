"""One update of four questions on a GPU: this project, this project as it was, and TRL. Also one SFT update.

    python -m benchmarks.gpu_update [--out result.json]          on one GPU, at most five minutes
    python -m benchmarks.gpu_update --dry --out result.json      a tiny model on a CPU, to see that everything runs

The model has the dimensions of Qwen2.5-VL 3B and random weights, made on the spot in bf16; nothing is downloaded. The
optimizer is AdamW over float32 weights. Needed are torch, transformers and Pillow, with `components/` on PYTHONPATH.
TRL is measured if it is installed, but not in a dry run.

ours:      packed rows, the vision tower's attention in one call per layer, fused kernels, recomputation by free memory
as it was: packed rows, transformers' own attention of the vision tower, every layer recomputing (commit 57ac39e)
trl:       GRPOTrainer's loss, 8 answers at a time without recomputation, weights and AdamW in pure bf16, with our
           attention of the vision tower

Per way and shape (tokens of prompt / of each of 8 answers): seconds (median of three), peak memory beyond weights and
optimizer, MFU, the share of the time in which the GPU is busy, and kernel launches (on a CPU: operator calls). MFU
counts 6 N per token, image patch and predicted token, and no recomputation. The printed ratio is TRL's seconds over
ours at 1000/400, and without TRL that of `as it was`; in a dry run, the operator calls of `as it was` over ours.
"""

import argparse
import contextlib
import gc
import importlib.util
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.result import peak_bytes
from pebr.training import recomputation
from pebr.training.logprobs import PolicyModel
from pebr.vlm.attention import plan_group
from pebr.vlm.encoding import Encoder, Prompt
from pebr.vlm.families import family_named, train_vision
from pebr.vlm.families.qwen import prompt_positions
from pebr.vlm.rows import Group, Row, pack

Shape = tuple[int, int]  # tokens of prompt and answer
FAMILY = "qwen2_5_vl"
QUESTIONS, ANSWERS = 4, 8
SHAPES: tuple[Shape, ...] = ((1000, 400), (1000, 800), (300, 400))
DRY_SHAPES: tuple[Shape, ...] = ((300, 12),)
SFT_SHAPE: Shape = (300, 400)
SFT_ROWS = 16
GRIDS = {1000: (54, 52), 300: (30, 28)}  # patches of the image: 702 and 210 tokens
PATCH, MERGE = 14, 2  # pixels per side of a patch, patches per side of a token
IDS = {"image_token_id": 5, "video_token_id": 6, "vision_start_token_id": 7, "vision_end_token_id": 8}
TOKENS_PER_ROW = 16384
ROUNDS = 3
TEMPERATURE = 1.2
PEAKS = {"H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "A100": 312e12}  # FLOP/s in bf16, dense
GOAL, DRY_GOAL = 4.0, 3.0

Update = Callable[[], object]


def dimensions(dry: bool, depth: Sequence[int]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of the text model and of the vision tower: Qwen2.5-VL 3B, or a narrow model of this depth."""
    text_layers, vision_layers = depth
    width, head, inner, heads, key_heads = (64, 32, 128, 2, 1) if dry else (2048, 128, 11008, 16, 2)
    tower = {"hidden_size": 64, "intermediate_size": 92, "num_heads": 2} if dry else {
        "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16
    }  # fmt: skip
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [head // 8, 3 * head // 16, 3 * head // 16]}
    text = {
        "vocab_size": 2048 if dry else 151936,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": text_layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "rope_parameters": rope,
        "max_position_embeddings": 32768,
    }
    full = [layer for layer in range(vision_layers) if layer % 8 == 7]
    vision = {"depth": vision_layers, "out_hidden_size": width, "fullatt_block_indexes": full, **tower}
    return text, vision


class RowEncoder:
    """What `pack` needs of an encoder, without tokenizer and image processor: these need further libraries."""

    image_token_id = IDS["image_token_id"]
    family = family_named(FAMILY, "benchmark")

    def positions(self, prompt: Prompt) -> Tensor:
        """As the encoder's."""
        grids = [] if prompt.image_grids is None else prompt.image_grids.tolist()
        return prompt_positions(prompt.token_ids, self.image_token_id, grids, MERGE)


def build(dry: bool, depth: Sequence[int], device: torch.device, ids: Mapping[str, int] = IDS) -> Any:
    """The model, in bf16 on a GPU and float32 on a CPU."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    text, vision = dimensions(dry, depth)
    config = AutoConfig.for_model(FAMILY, text_config=text, vision_config=vision, tie_word_embeddings=True, **ids)
    torch.manual_seed(0)
    with device:
        return AutoModelForImageTextToText.from_config(
            config, dtype=torch.float32 if device.type == "cpu" else torch.bfloat16
        )


def make_prompt(tokens: int, image_token_id: int) -> Prompt:
    """A prompt of `tokens` tokens, with an image of random patches."""
    height, width = GRIDS[tokens]
    image = [image_token_id] * (height * width // MERGE**2)
    words = torch.randint(20, 400, (tokens - len(image),)).tolist()
    patches = torch.randn(height * width, 3 * 2 * PATCH**2)
    return Prompt([*words[:30], *image, *words[30:]], patches, torch.tensor([[1, height, width]]), (), "")


def make_rows(questions: int, answers: int, shape: Shape, device: torch.device) -> list[Row]:
    """Packed rows of different questions."""
    groups = []
    for question in range(questions):
        drawn = torch.randint(20, 400, (answers, shape[1])).tolist()
        numbers = range(question * answers, (question + 1) * answers)
        groups.append(Group(make_prompt(shape[0], RowEncoder.image_token_id), drawn, numbers))
    encoder: Any = RowEncoder()
    return [row.to(device) for row in pack(groups, TOKENS_PER_ROW, encoder)]


class AsItWas(PolicyModel):
    """The forward pass of commit 57ac39e: transformers' own vision tower, its windows one after the other."""

    def states(self, row: Row, hidden: Tensor | None) -> Tensor:
        plans = [plan_group(span.prompt, span.answers, row.input_ids.device) for span in row.spans]
        found: Tensor = self.model.model(
            input_ids=row.input_ids,
            position_ids=row.position_ids,
            pixel_values=row.pixel_values,
            image_grid_thw=row.image_grids.to(row.input_ids.device),
            attention_mask=None,
            use_cache=False,
            plans=plans,
        ).last_hidden_state[0]
        return found[row.predictors]


class PlainEngine:
    """AdamW over float32 copies of the trained weights, gradients summed in float32: what ZeRO 1 does on one GPU."""

    def __init__(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        self.parameters: list[Tensor] = [parameter for parameter in parameters if parameter.requires_grad]
        self.masters = [parameter.detach().float() for parameter in self.parameters]
        for master in self.masters:
            master.grad = torch.zeros_like(master)
        self.optimizer = torch.optim.AdamW(self.masters, lr=1e-6, weight_decay=0.01, fused=True)
        self.optimizer.step()  # creates its state

    def update(self, rows: Sequence[Row], loss: Callable[[Row], Tensor]) -> float:
        """One update. Returns the norm of the gradient."""
        for row in rows:
            loss(row).backward()
            for parameter, master in zip(self.parameters, self.masters, strict=True):
                if parameter.grad is not None and master.grad is not None:
                    master.grad += parameter.grad
                    parameter.grad = None
        norm = torch.nn.utils.clip_grad_norm_(self.masters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=False)
        with torch.no_grad():
            torch._foreach_copy_(self.parameters, self.masters)
        return float(norm)


def policy_loss(module: PolicyModel, scale: float) -> Callable[[Row], Tensor]:
    """A loss with GRPO's arithmetic: a ratio per token, weighted by the answer's advantage."""

    def loss(row: Row) -> Tensor:
        logprobs, _ = module(row, TEMPERATURE)
        advantages = (row.segments % ANSWERS).float() - (ANSWERS - 1) / 2
        return -((logprobs - logprobs.detach()).exp() * advantages).sum() * scale

    return loss


def flops(model: Any, rows: Sequence[Row], trains_vision: bool) -> float:
    """6 N per token of the text model, patch of the tower and predicted token of the head; 2 N where frozen."""
    tower = sum(p.numel() for p in model.model.visual.parameters())
    head = model.get_output_embeddings().weight.numel()
    text = sum(p.numel() for p in model.model.language_model.parameters()) - head
    total = sum(6.0 * (text * row.tokens + head * len(row.targets)) for row in rows)
    return total + sum((6.0 if trains_vision else 2.0) * tower * len(row.pixel_values) for row in rows)


def measured(update: Update, device: torch.device, work: float) -> dict[str, Any]:
    """Seconds, peak memory, MFU, busy share and launches of an update."""
    on_gpu = device.type == "cuda"
    if on_gpu:
        update()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        update()
        peak = torch.cuda.max_memory_allocated() - before
    else:
        peak = peak_bytes(update)
    seconds = []
    for _ in range(ROUNDS if on_gpu else 1):
        started = time.perf_counter()
        update()
        if on_gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    launches, busy = profiled(update, on_gpu)
    speed = next((peak for name, peak in PEAKS.items() if on_gpu and name in torch.cuda.get_device_name()), None)
    found = median(seconds)
    return {
        "seconds": round(found, 4),
        "peak_gb": round(peak / 1e9, 2),
        "mfu": round(work / found / speed, 4) if speed else None,
        "busy": None if busy is None else round(min(busy / found, 1.0), 3),
        "launches": launches,
    }


def profiled(update: Update, on_gpu: bool) -> tuple[int, float | None]:
    """Kernel launches of an update and seconds in which a kernel runs; on a CPU, operator calls and None."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as trace:
        update()
        if on_gpu:
            torch.cuda.synchronize()
    if not on_gpu:
        return sum(event.count for event in trace.key_averages() if event.key.startswith("aten::")), None
    kernels = sorted(
        (event.time_range.start, event.time_range.end)
        for event in trace.events()
        if event.device_type == DeviceType.CUDA
    )
    busy, until = 0.0, 0.0
    for start, end in kernels:  # kernels of several streams overlap
        busy += max(end - max(start, until), 0.0)
        until = max(until, end)
    return len(kernels), busy / 1e6


def our_ways(
    dry: bool, depth: Sequence[int], shapes: Sequence[Shape], device: torch.device
) -> dict[str, dict[str, dict[str, Any]]]:
    """`ours` and `as it was` at each shape, and `ours` on SFT rows."""
    result: dict[str, dict[str, dict[str, Any]]] = {}
    model = build(dry, depth, device)
    model.train()
    own_attention = model.model.visual.config._attn_implementation
    ours, was = PolicyModel(model), AsItWas(model)
    ours_attention = model.model.visual.config._attn_implementation
    engine = PlainEngine(model.parameters())
    for shape in shapes:
        rows = make_rows(QUESTIONS, ANSWERS, shape, device)
        work, scale = flops(model, rows, True), 1 / sum(len(row.targets) for row in rows)
        norms: dict[str, float] = {}
        ways: dict[str, Any] = {}
        for way, module, attention in (("ours", ours, ours_attention), ("as it was", was, own_attention)):
            model.model.visual.config._attn_implementation = attention
            longest = max(row.tokens for row in rows)
            every = recomputation.choose(model, rows, longest, device) if way == "ours" else 1
            recomputation.use(model, every)
            loss = policy_loss(module, scale)

            norms[way] = engine.update(rows, loss)
            update = partial(engine.update, rows, loss)
            ways[way] = measured(update, device, work) | {"recomputes_every": every}
        assert max(norms.values()) < (1.01 if dry else 1.1) * min(norms.values()), norms
        result[f"{shape[0]}/{shape[1]}"] = ways
        print(shape, ways, flush=True)
    model.model.visual.config._attn_implementation = ours_attention
    train_vision(model, train=False)
    rows = make_rows(SFT_ROWS // (8 if dry else 1), 1, DRY_SHAPES[0] if dry else SFT_SHAPE, device)
    found = measured(lambda: engine.update(rows, lambda row: -ours(row)[0].mean()), device, flops(model, rows, False))
    result["sft"] = {"ours": found | {"tokens": sum(row.tokens for row in rows)}}
    print("sft", result["sft"], flush=True)
    return result


def trl_way(depth: Sequence[int], shape: Shape, device: torch.device) -> dict[str, Any]:
    """TRL's update of four questions: loss, backward, clipping and optimizer step, as its trainer does them."""
    from benchmarks.grpo_update import trl_batches, trl_trainer
    from pebr.toy.vlm import build_tokenizer

    family, tokenizer = RowEncoder.family, build_tokenizer(FAMILY)
    encoder = Encoder(family.tiny_processor(tokenizer, PATCH, {"min_pixels": 576, "max_pixels": 802816}))
    names = {"image": "image_pad", "video": "video_pad", "vision_start": "vision_start", "vision_end": "vision_end"}
    ids = {f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>") for name, token in names.items()}
    model = build(device.type == "cpu", depth, device, ids)
    family.prepare(model)
    with tempfile.TemporaryDirectory() as folder:
        trainer = trl_trainer(model, encoder, shape[1], ANSWERS, Path(folder))
        trained, optimizer = trainer.model.train(), trainer.optimizer
        batches = []
        for _ in range(QUESTIONS):
            drawn = torch.randint(20, 400, (ANSWERS, shape[1])).tolist()
            batches += trl_batches(encoder, make_prompt(shape[0], encoder.image_token_id), drawn, ANSWERS)
        sent = [{k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()} for batch in batches]

        def update() -> None:
            for inputs in sent:
                trainer._compute_loss(trained, inputs).backward()
            torch.nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()

        rows = make_rows(QUESTIONS, ANSWERS, shape, torch.device("cpu"))
        return measured(update, device, flops(model, rows, True))


def main(arguments: Sequence[str] | None = None) -> float:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry", action="store_true", help="a tiny model on a CPU")
    parser.add_argument("--depth", type=int, nargs=2, help="layers of the text model and of the vision tower")
    parser.add_argument("--shape", type=int, nargs=2, help="only these tokens of prompt (300 or 1000) and answer")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "gpu_update.json")
    given = parser.parse_args(arguments)
    if not given.dry and not torch.cuda.is_available():
        parser.error("no GPU: give --dry for a tiny model on a CPU")
    device = torch.device("cpu" if given.dry else "cuda")
    depth = given.depth or ((2, 8) if given.dry else (36, 32))
    shapes = [tuple(given.shape)] if given.shape else DRY_SHAPES if given.dry else SHAPES
    card = "CPU" if given.dry else torch.cuda.get_device_name()
    result: dict[str, Any] = {"card": card, "torch": torch.__version__, "dry": given.dry, "depth": list(depth)}
    result |= our_ways(given.dry, depth, shapes, device)
    first = result[f"{shapes[0][0]}/{shapes[0][1]}"]
    gc.collect()
    if not given.dry:
        torch.cuda.empty_cache()
    if not given.dry and importlib.util.find_spec("trl"):
        with contextlib.suppress(torch.cuda.OutOfMemoryError):
            first["trl"] = trl_way(depth, shapes[0], device)
    key = "launches" if given.dry else "seconds"
    other = "trl" if "trl" in first else "as it was"
    ratio = first[other][key] / first["ours"][key]
    goal = DRY_GOAL if given.dry else GOAL
    given.out.parent.mkdir(exist_ok=True)
    given.out.write_text(json.dumps(result | {"ratio": round(ratio, 3), "goal": goal}, indent=1) + "\n")
    print(f"gpu_update: ratio={ratio:.2f} goal={goal:g} {'ok' if ratio >= goal else 'short'} ({key} of {other})")
    return ratio


if __name__ == "__main__":
    main()
