"""Each published layout goes through filter on the command line, and each question is asked with the same tokens.

The tokens of the warm-up, of rollout, GRPO and evaluation are compared for every layout.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from pebr.benchmarks.rules import question_text
from pebr.data.benchmark import BenchmarkRow
from pebr.data.images import decode
from pebr.data.shards import ShardedDataset, read_manifest
from pebr.sft.batches import Batches
from pebr.vlm.admission import admit, encode, image_bytes
from pebr.vlm.encoding import Encoder, Prompt
from pebr.vlm.loading import load_processor
from pebr.vlm.prompt import INSTRUCTIONS
from tests.filter.layouts import BLOCK, ITEMS, RL, SFT, Writer


@pytest.fixture(scope="module", params=["qwen2_5_vl", "qwen3_vl"])
def encoder(request: pytest.FixtureRequest, tiny_models: dict[str, Path]) -> Encoder:
    return Encoder(load_processor(tiny_models[request.param]))


@pytest.fixture(scope="module")
def filtered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The output of filter for every layout, by the layout's name."""
    root, outputs = tmp_path_factory.mktemp("layouts"), {}
    for kind, writers in (("sft", SFT), ("rl", RL)):
        for write in writers:
            write(root / write.__name__, ITEMS)
            outputs[write.__name__] = root / f"{write.__name__}.out"
            command = [sys.executable, "-m", "pebr.filter", "--kind", kind, "--source", str(root / write.__name__)]
            done = subprocess.run(
                [*command, "--output", str(outputs[write.__name__])], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
    return outputs


def asked_in_evaluation(encoder: Encoder) -> list[Prompt]:
    """The questions as a benchmark asks them."""
    rows = [BenchmarkRow(str(n), item.question, item.answer, [item.image]) for n, item in enumerate(ITEMS)]
    prompts = [encode(question_text(row), row.images, encoder, 10_000) for row in rows]
    assert all(isinstance(prompt, Prompt) for prompt in prompts)
    return prompts  # type: ignore[return-value]


def the_same(prompts: list[Prompt], expected: list[Prompt]) -> bool:
    """Whether both ask the same questions, in any order."""
    return sorted(prompt.token_ids for prompt in prompts) == sorted(prompt.token_ids for prompt in expected)


@pytest.mark.parametrize("write", SFT, ids=lambda write: write.__name__)
def test_the_warm_up_asks_every_layout_as_the_evaluation_does(
    write: Writer, filtered: dict[str, Path], encoder: Encoder
) -> None:
    dataset = ShardedDataset(filtered[write.__name__])
    batches = Batches(dataset, encoder, len(ITEMS), 10_000, 10_000, seed=0, rank=0, world_size=1)
    examples = [batches.measure(index) for index in range(len(dataset))]
    prompts = [batches.encode(example).prompt for example in examples]  # type: ignore[arg-type]
    assert the_same(prompts, asked_in_evaluation(encoder))
    assert sorted(encoder.decode(example.answer) for example in examples) == sorted(i.response for i in ITEMS)  # type: ignore[union-attr]
    [batch] = batches.run(0, 1)
    assert not batch.rejected
    texts = [encoder.processor.tokenizer.decode(row.input_ids[0]) for row in batch.rows]
    assert sum(text.count(INSTRUCTIONS.splitlines()[0]) for text in texts) == len(ITEMS)


@pytest.mark.parametrize("write", RL, ids=lambda write: write.__name__)
def test_rollout_and_grpo_ask_every_layout_as_the_evaluation_does(
    write: Writer, filtered: dict[str, Path], encoder: Encoder
) -> None:
    rows = list(ShardedDataset(filtered[write.__name__]))
    rollout = [admit(row["problem"], image_bytes(row["images"]), encoder, 10_000) for row in rows]
    grpo = [encoder.prompt(row["problem"], [decode(data) for data in image_bytes(row["images"])]) for row in rows]
    assert the_same(rollout, asked_in_evaluation(encoder))  # type: ignore[arg-type]
    assert the_same(grpo, asked_in_evaluation(encoder))
    assert sorted(row["answer"] for row in rows) == sorted(item.answer for item in ITEMS)


def test_the_manifest_tells_the_instructions_that_were_removed(filtered: dict[str, Path]) -> None:
    """`sft --prompt data` asks with them."""
    told = {layout: read_manifest(path).extra["instructions"] for layout, path in filtered.items()}
    assert told["mulberry"] == told["plain_bytes"] == BLOCK
    assert told["llava"] == told["geometry"] == ""


@pytest.mark.parametrize(
    ("layout", "count", "number"),
    [
        ("mulberry", "images", {"by path": 3, "by suffix": 5}),
        ("mulberry", "changes", {"instructions removed": 8}),
        ("mulberry_in_parts", "images", {"by path": 3, "by suffix": 5}),
        ("llama_factory", "changes", {"system turns removed": 8}),
        ("llava", "images", {"by path": 8}),
        ("sft_web_dataset", "images", {"in the row": 8}),
        ("plain_bytes", "changes", {"instructions removed": 8}),
        ("geometry", "images", {"in the row": 8}),
    ],
)
def test_what_was_found_and_changed_is_counted(
    filtered: dict[str, Path], layout: str, count: str, number: dict[str, int]
) -> None:
    (facts,) = read_manifest(filtered[layout]).extra["sources"].values()
    assert facts[count] == number


@pytest.mark.parametrize(
    ("layout", "form", "columns"),
    [
        ("mulberry", "JSON", {"messages": "messages", "images": "images"}),
        ("llava", "JSON", {"messages": "conversations", "images": "image"}),
        ("content_parts", "JSON Lines", {"messages": "messages"}),
        ("sft_web_dataset", "WebDataset", {"messages": "messages", "images": "images"}),
        ("virl", "Parquet", {"question": "question", "answer": "answer", "images": "image", "qid": "qid"}),
        ("open_r1", "Parquet", {"question": "problem", "answer": "solution", "images": "image"}),
        ("plain_bytes", "Parquet", {"question": "prompt", "answer": "reward_model", "images": "image"}),
    ],
)
def test_the_layout_is_reported(filtered: dict[str, Path], layout: str, form: str, columns: dict[str, str]) -> None:
    (facts,) = read_manifest(filtered[layout]).extra["sources"].values()
    assert (facts["form"], facts["columns"]) == (form, columns)
