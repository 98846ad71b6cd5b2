"""What publishing writes into a model that a store holds."""

from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from pebr.store.opening import open_store
from pipelines.publishing.card import Facts, Origin, card, license_of
from pipelines.publishing.publish import describe

PARAMETERS = {
    "min_pixels": 576,
    "max_pixels": 802816,
    "model_source": "hf://Qwen/Qwen2.5-VL-3B-Instruct@main",
    "sft_source": "hf://datasets/a/one:500,s3://b/c",
    "rl_source": "hf://datasets/a/two@1.0",
    "benchmarks_source": "s3://b/benchmarks",
}
FACTS = Facts(
    "run-1", "pebr-r1", "3b", "4cb250a", "i@sha256:1", PARAMETERS, [], scores={"last": {"clip": 0.7}}, final="last"
)


def test_a_folder_with_a_listing_is_fetched_with_the_new_files(tmp_path: Path) -> None:
    model, store = tmp_path / "model", open_store(tmp_path / "store")
    model.mkdir()
    (model / "model.safetensors").write_text("weights")
    (model / "chat_template.jinja").write_text("{{ messages }}")
    (model / "README.md").write_text("---\nlicense: other\nlicense_name: theirs\nlicense_link: LICENSE\n---\nbase")
    store.put(model, "run/output")
    location = f"{tmp_path / 'store'}/run/output"
    facts = Facts(**{**vars(FACTS), "model": location})
    files = describe(facts)
    store.get("run/output", tmp_path / "fetched")  # checks every file against the listing
    assert (tmp_path / "fetched" / "model.safetensors").read_text() == "weights"
    for name, text in files.items():
        assert (tmp_path / "fetched" / name).read_text() == text
    assert describe(facts) == files  # the licence is still that of the base
    given = describe(facts, "mit")["README.md"]
    assert ModelCard(given).data.to_dict()["license"] == "mit"
    assert "theirs" not in given


def test_the_front_matter_names_what_is_on_the_hub() -> None:
    data = ModelCard(card(FACTS, Origin("{question}"))).data
    assert data.base_model == "Qwen/Qwen2.5-VL-3B-Instruct"
    assert data.datasets == ["a/one", "a/two"]
    assert data.license is None
    assert [(r.metric_type, r.metric_value) for r in data.eval_results] == [("clip", 0.7)]


def test_a_prompt_with_a_fence_stays_in_one_block() -> None:
    assert "````text\nUse ``` and {question}\n````\n" in card(FACTS, Origin("Use ``` and {question}"))


@pytest.mark.parametrize("text", ["no front matter", "---\nlicense: [\n---\n", "---\n- a list\n---\n", ""])
def test_a_base_card_without_a_licence_is_no_error(text: str) -> None:
    assert license_of(text) == {}
