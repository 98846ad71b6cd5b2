"""The CLIP reward: batched, cached, exact; every failure is an error."""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from pebr.errors import InputError
from pebr.rewards.batch import RewardBatch, RewardError
from pebr.rewards.clip import ClipScorer, clip_reward, load_scorer
from pebr.rewards.clip_models import FG_CLIP_KEPT_POSITIONS, HuggingFaceClip, load_feature_model, long_text_branch

TEXTS = ["a red circle", "two blue squares and a cross", "", "a red circle", "word " * 200]
Make = Callable[..., RewardBatch]


class Counting:
    """A feature model that counts what it encodes."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.images = self.texts = 0

    def preprocess(self, image: Image.Image) -> Tensor:
        return self.model.preprocess(image)

    def encode_images(self, pixels: Tensor) -> Tensor:
        self.images += len(pixels)
        return self.model.encode_images(pixels)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        self.texts += len(texts)
        return self.model.encode_texts(texts)

    def cut_off(self, texts: Sequence[str]) -> list[bool]:
        return self.model.cut_off(texts)


def one_at_a_time(model: Any, image: bytes, text: str) -> float:
    """The same score without batches and cache."""
    with torch.inference_mode():
        features = model.encode_images(model.preprocess(Image.open(io.BytesIO(image)).convert("RGB"))[None])[0]
        words = model.encode_texts([text])[0]
    return float(features @ words / features.norm() / words.norm())


def test_batched_equals_one_by_one(scorer: ClipScorer, image_files: list[bytes]) -> None:
    images = [image_file for image_file in image_files for _ in TEXTS]
    texts = TEXTS * len(image_files)
    together = ClipScorer(scorer.model, batch_size=3).score(images, texts)
    assert together == pytest.approx(
        [one_at_a_time(scorer.model, *pair) for pair in zip(images, texts, strict=True)], abs=1e-5
    )
    assert len({round(value, 6) for value in together}) > len(TEXTS)  # the scores differ


def test_texts_without_their_padding_have_the_same_features(scorer: ClipScorer) -> None:
    model: Any = scorer.model
    assert model.is_causal
    with torch.inference_mode():
        padded = model.model.encode_text(model.tokenizer(TEXTS))
        assert torch.allclose(model.encode_texts(TEXTS), padded, atol=1e-5)


def test_each_image_and_text_is_encoded_once(scorer: ClipScorer, image_files: list[bytes]) -> None:
    model = Counting(scorer.model)
    counted = ClipScorer(model, batch_size=2)
    copies = [bytes(bytearray(image_files[0])), image_files[0], image_files[1]]  # the same content in two objects
    counted.score(copies, ["a", "b", "a"])
    assert (model.images, model.texts) == (2, 2)
    counted.score(copies, ["c", "c", "c"])  # the next training step: image features are cached
    assert (model.images, model.texts) == (2, 3)


def test_the_image_cache_is_bounded_and_keeps_the_latest(scorer: ClipScorer, image_files: list[bytes]) -> None:
    model = Counting(scorer.model)
    small = ClipScorer(model, cached_images=2)
    first = small.score(image_files, ["a"] * 4)  # more images than the cache holds
    assert small.score(image_files[2:], ["a"] * 2) == first[2:]
    assert model.images == 4
    small.score(image_files[:2], ["a"] * 2)  # only the latest two were in the cache
    assert model.images == 6


def test_the_reward_is_clamped_and_scaled(make_batch: Make, good: Callable[..., str]) -> None:
    class Fixed:
        def score(self, images: Sequence[bytes], texts: Sequence[str]) -> list[float]:
            return [{"minus": -0.2, "some": 0.1, "much": 0.9}[text] for text in texts]

    batch = make_batch([good("minus"), good("some"), good("much"), good("")])
    assert clip_reward(batch, Fixed()) == pytest.approx([0.0, 0.25, 1.0, 0.0])  # type: ignore[arg-type]


def test_several_images_are_averaged_and_none_earns_nothing(
    scorer: ClipScorer, make_batch: Make, good: Callable[..., str], image_files: list[bytes]
) -> None:
    images = [image_files[:2], []]
    cosines = scorer.score(image_files[:2], ["a cat"] * 2)
    expected = max(0.0, min(1.0, sum(cosines) / 2 / 0.4))
    assert clip_reward(make_batch([good("a cat")] * 2, images=images), scorer) == pytest.approx([expected, 0.0])


def test_a_broken_image_stops_the_step_and_names_the_question(
    scorer: ClipScorer, make_batch: Make, good: Callable[..., str], image_files: list[bytes]
) -> None:
    batch = make_batch([good()] * 2, images=[[image_files[0]], [b"not an image"]])
    with pytest.raises(RewardError, match="question q1"):
        clip_reward(batch, scorer)


def test_a_failing_model_stops_the_step(scorer: ClipScorer, make_batch: Make, good: Callable[..., str]) -> None:
    class Failing(Counting):
        def encode_texts(self, texts: Sequence[str]) -> Tensor:
            raise RuntimeError("CUDA error: out of memory")

    class Broken(Counting):
        def encode_texts(self, texts: Sequence[str]) -> Tensor:
            return super().encode_texts(texts) * float("nan")

    with pytest.raises(RuntimeError, match="out of memory"):
        clip_reward(make_batch([good()]), ClipScorer(Failing(scorer.model)))
    with pytest.raises(RewardError, match="not finite"):
        clip_reward(make_batch([good()]), ClipScorer(Broken(scorer.model)))


def test_texts_longer_than_the_window_are_counted(scorer: ClipScorer) -> None:
    window = scorer.model.model.context_length  # type: ignore[attr-defined]
    lengths = [1, window - 2, window - 1, 10 * window]  # the tokens of the start and the end come on top
    texts = [" ".join(["red"] * length) for length in lengths]
    assert scorer.model.cut_off(texts) == [False, False, True, True]
    assert scorer.cut_off([*texts, texts[-1]]) == 3
    assert scorer.cut_off([]) == 0


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a directory"):
        load_scorer(str(tmp_path / "nowhere"))
    (tmp_path / "open_clip_config.json").write_text("{}")
    with pytest.raises(InputError, match="pickled weights are never opened"):
        load_scorer(str(tmp_path))


# FG-CLIP: its long-text branch as a standard CLIP, compared with its definition.


@pytest.fixture(scope="module")
def fg_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in FG-CLIP's layout with random weights and a tokenizer of a few words."""
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, PreTrainedTokenizerFast

    directory = tmp_path_factory.mktemp("fg-clip")
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = {
        "text_config": {**shape, "vocab_size": 49408, "max_position_embeddings": 77},
        "vision_config": {**shape, "image_size": 32, "patch_size": 8},
        "projection_dim": 16,
    }
    torch.manual_seed(0)
    weights = {name: tensor.clone() for name, tensor in CLIPModel(CLIPConfig(**config)).state_dict().items()}
    table = "text_model.embeddings.position_embedding"
    weights |= {f"{table}_ori.weight": torch.randn(248, 32), f"{table}_res.weight": torch.randn(248, 32)}
    weights |= {"text_filip_projection.weight": torch.randn(16, 32), "logit_scale_hardneg": torch.tensor(1.0)}
    save_file(weights, directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "evil.py"}}))
    vocabulary = {"<unk>": 0, "red": 1, "circle": 2, "blue": 3, "<start>": 49406, "<end>": 49407}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "<start> $A <end>", special_tokens=[("<start>", 49406), ("<end>", 49407)]
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<end>", eos_token="<end>").save_pretrained(directory)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(directory)
    return directory


def test_fg_clip_reads_248_tokens_with_its_own_places(fg_clip: Path) -> None:
    from safetensors.torch import load_file

    model = load_feature_model(str(fg_clip))
    assert isinstance(model, HuggingFaceClip)
    assert model.longest == 248
    assert model.cut_off(["red", "red " * 300]) == [False, True]
    weights = load_file(fg_clip / "model.safetensors")
    text = "red circle blue " * 40
    with torch.inference_mode():
        features = model.encode_texts([text, "red"])

        # the definition: position_embedding_ori at the first 20 positions (mask1), position_embedding_res at the others
        ids = torch.tensor([[49406, *([1, 2, 3] * 40), 49407]])
        mask = torch.zeros(248, 1)
        mask[:20] = 1
        table = "text_model.embeddings.position_embedding"
        places = weights[f"{table}_ori.weight"] * mask + weights[f"{table}_res.weight"] * (1 - mask)
        embeddings = model.model.text_model.embeddings
        embeddings.position_embedding.weight.copy_(torch.zeros(248, 32))  # added by hand instead
        added = embeddings.token_embedding.weight[ids[0]] + places[: ids.shape[1]]
        hidden = model.model.text_model.encoder(
            inputs_embeds=added[None], attention_mask=causal(ids.shape[1])
        ).last_hidden_state
        pooled = model.model.text_model.final_layer_norm(hidden)[0, -1]
    assert torch.allclose(features[0], weights["text_filip_projection.weight"] @ pooled, atol=1e-4)


def causal(length: int) -> Tensor:
    return torch.full((length, length), float("-inf")).triu(1)[None, None]


def test_fg_clip_runs_none_of_its_code_and_squashes_images(fg_clip: Path) -> None:
    model = load_feature_model(str(fg_clip))
    wide = Image.new("RGB", (300, 30), (255, 0, 0))
    wide.paste((0, 0, 255), (250, 0, 300, 30))  # a blue edge, which a crop would lose
    pixels = model.preprocess(wide)
    assert pixels.shape == (3, 32, 32)
    assert pixels[2, 16, 31] > pixels[2, 16, 0]


def test_padding_changes_no_feature(fg_clip: Path) -> None:
    model = load_feature_model(str(fg_clip))
    with torch.inference_mode():
        together = model.encode_texts(["red", "red circle blue " * 30])
        assert torch.allclose(together[0], model.encode_texts(["red"])[0], atol=1e-5)


def test_the_long_branch_keeps_the_first_places() -> None:
    table = "text_model.embeddings.position_embedding"
    weights = {
        f"{table}.weight": torch.zeros(77, 4),
        f"{table}_ori.weight": torch.ones(248, 4),
        f"{table}_res.weight": torch.full((248, 4), 2.0),
        "text_projection.weight": torch.zeros(3, 4),
        "text_filip_projection.weight": torch.ones(3, 4),
    }
    converted = long_text_branch(weights)
    assert set(converted) == {f"{table}.weight", "text_projection.weight"}
    assert converted[f"{table}.weight"][:, 0].tolist() == [1.0] * FG_CLIP_KEPT_POSITIONS + [2.0] * 228
    assert converted["text_projection.weight"].sum() == 12


@pytest.mark.slow
def test_the_tiny_clip_ranks_the_right_description_first(tmp_path: Path) -> None:
    """In at least 80 % of 1-of-8 choices, on images of the test split (chance: 12.5 %)."""
    from pebr.toy.clip import train_clip
    from pebr.toy.world import questions

    train_clip(tmp_path, 0)
    scorer = load_scorer(str(tmp_path))
    scenes = list({question.description: question for question in questions(1, 400, "test")}.values())[:200]
    files = [io.BytesIO() for _ in scenes]
    for scene, file in zip(scenes, files, strict=True):
        scene.image.save(file, "PNG")
    right = 0
    for index, file in enumerate(files):
        choices = [scenes[(index + step) % len(scenes)].description for step in range(8)]
        scores = scorer.score([file.getvalue()] * 8, choices)
        right += scores.index(max(scores)) == 0
    assert right / len(files) >= 0.8
