"""The models of the CLIP reward, behind one interface: images to features and texts to features.

Two kinds: open_clip models, and CLIP models in the Hugging Face layout, including FG-CLIP (arXiv 2505.05071). The
long-text branch of FG-CLIP reads 248 tokens, where CLIP reads 77. It has its own position table after the first 20
positions (`walk_short_pos=False` in its code) and its own text projection. With these weights renamed, FG-CLIP loads as
a standard CLIP, so the model code that FG-CLIP ships is never run.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor

import pebr.vlm.torchvision_operators  # noqa: F401 - makes the image transforms importable
from pebr.errors import InputError
from pebr.vlm.weights import few, is_finite, readable

FG_CLIP_KEPT_POSITIONS = 20  # first positions of FG-CLIP's long table that are CLIP's own
CLIP_END_OF_TEXT = 49407


class FeatureModel(Protocol):
    """Maps images and texts to features in one space."""

    def preprocess(self, image: Image.Image) -> Tensor:
        """An RGB image as model input: (3, H, W), on the CPU."""

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Features of preprocessed images (B, 3, H, W): (B, D), on the model's device."""

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Features of texts: (B, D), on the model's device. Long texts are cut off."""

    def cut_off(self, texts: Sequence[str]) -> list[bool]:
        """Whether each text has more tokens than the model reads, (B,)."""


def load_feature_model(path_or_name: str, device: str = "cpu") -> FeatureModel:
    """Load a model.

    Args:
        path_or_name: an open_clip directory; a directory in the Hugging Face layout (CLIP or FG-CLIP); or `MODEL/TAG`
            of open_clip's list, which is downloaded, for example `ViT-B-32/laion2b_s34b_b79k`.
        device: where the model runs.

    Raises:
        InputError: if there is no such model, or it is not whole.
    """
    path = Path(path_or_name)
    if (path / "open_clip_config.json").is_file():
        _require(path / "open_clip_model.safetensors")
        with readable(path, "the clip model"):
            return _checked(OpenClip(f"local-dir:{path}", None, device), path)
    if (path / "config.json").is_file():
        _require(path / "model.safetensors")
        with readable(path, "the clip model"):
            return _checked(HuggingFaceClip(path, device), path)
    import open_clip

    name, _, tag = path_or_name.partition("/")
    if (name, tag) in open_clip.list_pretrained():
        return OpenClip(name, tag, device)
    raise InputError(
        f"clip model {path_or_name!r}: neither a directory with open_clip_config.json or config.json, nor MODEL/TAG of "
        "open_clip's list; ingest hf://qihoo360/fg-clip-large to get FG-CLIP"
    )


def _require(weights: Path) -> None:
    if not weights.is_file():
        raise InputError(
            f"clip model {weights.parent}: no {weights.name}: convert the weights, pickled weights are never opened"
        )


def _checked(loaded: "OpenClip | HuggingFaceClip", path: Path) -> FeatureModel:
    """The model, whose weights are all finite."""
    if wrong := [name for name, value in loaded.model.state_dict().items() if not is_finite(value)]:
        raise InputError(f"clip model {path}: NaN or infinite values in {few(wrong)}: fetch the model again")
    return loaded


class OpenClip:
    """An open_clip model with its own preprocessing and tokenizer."""

    def __init__(self, name: str, tag: str | None, device: str) -> None:
        import open_clip

        self.device = device
        self.model, self.preprocess = open_clip.create_model_from_pretrained(name, pretrained=tag, device=device)
        self.model.eval()
        self.tokenizer = open_clip.get_tokenizer(name)
        plain = isinstance(self.model, open_clip.CLIP) and self.model.text_pool_type == "argmax"
        self.is_causal = plain and self.model.attn_mask is not None and isinstance(self.model.text_projection, Tensor)

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Features of preprocessed images, (B, D)."""
        return self.model.encode_image(pixels.to(self.device))  # type: ignore[no-any-return]

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Features of texts, (B, D)."""
        ids = self.tokenizer(list(texts)).to(self.device)  # (B, context length), padded
        return self._encode_unpadded(ids) if self.is_causal else self.model.encode_text(ids)  # type: ignore[no-any-return]

    def cut_off(self, texts: Sequence[str]) -> list[bool]:
        """Whether each text fills one position more than the model reads, (B,)."""
        ids = self.tokenizer(["", *texts], context_length=self.model.context_length + 1)[:, -1]
        return [bool(last != ids[0]) for last in ids[1:]]  # the empty text ends in padding

    def _encode_unpadded(self, ids: Tensor) -> Tensor:
        """`encode_text` without the padding after the longest text. Attention is causal, so the features are the same.

        Most descriptions use at most a third of the context length, so this saves most of the work.
        """
        ends = ids.argmax(dim=-1)  # (B,) the end-of-text token has the largest id
        length = int(ends.max()) + 1
        hidden = self.model.token_embedding(ids[:, :length]) + self.model.positional_embedding[:length]
        hidden = self.model.transformer(hidden, attn_mask=self.model.attn_mask[:length, :length])
        hidden = self.model.ln_final(hidden)[torch.arange(len(ids), device=ids.device), ends]
        return hidden @ self.model.text_projection  # type: ignore[no-any-return]


class HuggingFaceClip:
    """A CLIP or FG-CLIP directory, loaded as the CLIP model of transformers."""

    def __init__(self, path: Path, device: str) -> None:
        from safetensors.torch import load_file
        from transformers import AutoTokenizer, CLIPConfig, CLIPImageProcessor, CLIPModel

        self.device = device
        weights = load_file(path / "model.safetensors")
        self.is_fg_clip = "text_filip_projection.weight" in weights
        if self.is_fg_clip:
            weights = long_text_branch(weights)
        table = weights["text_model.embeddings.position_embedding.weight"]
        config = json.loads((path / "config.json").read_text())
        text = {**config["text_config"], "max_position_embeddings": len(table), "eos_token_id": CLIP_END_OF_TEXT}
        vision, projection_dim = config["vision_config"], config["projection_dim"]
        self.model: Any = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=projection_dim))
        missing, unexpected = self.model.load_state_dict(weights, strict=False)
        if wrong := [name for name in (*missing, *unexpected) if not name.endswith("position_ids")]:
            raise InputError(f"clip model {path}: {len(wrong)} weights do not fit a CLIP, the first: {wrong[0]}")
        self.model.eval().to(device)
        self.longest = len(table)
        self.side = int(config["vision_config"]["image_size"])
        self.tokenizer: Any = AutoTokenizer.from_pretrained(str(path), local_files_only=True)
        self.processor: Any = CLIPImageProcessor.from_pretrained(str(path), local_files_only=True)

    def preprocess(self, image: Image.Image) -> Tensor:
        """An image as model input, (3, H, W). FG-CLIP resizes it to a square; CLIP crops it."""
        if self.is_fg_clip:
            image = image.resize((self.side, self.side))
        return self.processor.preprocess([image], return_tensors="pt")["pixel_values"][0]  # type: ignore[no-any-return]

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Features of preprocessed images, (B, D)."""
        hidden = self.model.vision_model(pixel_values=pixels.to(self.device)).pooler_output
        return self.model.visual_projection(hidden)  # type: ignore[no-any-return]

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Features of texts, (B, D). Attention is causal and the end token is pooled, so padding changes nothing."""
        batch = self.tokenizer(list(texts), padding=True, truncation=True, max_length=self.longest, return_tensors="pt")
        hidden = self.model.text_model(input_ids=batch["input_ids"].to(self.device)).pooler_output
        return self.model.text_projection(hidden)  # type: ignore[no-any-return]

    def cut_off(self, texts: Sequence[str]) -> list[bool]:
        """Whether each text has more tokens than the model reads, (B,)."""
        return [len(ids) > self.longest for ids in self.tokenizer(list(texts), verbose=False)["input_ids"]]


def long_text_branch(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of FG-CLIP to those of a standard CLIP with FG-CLIP's long-text branch.

    FG-CLIP has the weights of CLIP, two position tables of 248 positions, and a second text projection. The long-text
    branch uses the first 20 positions of table `_ori` and the other positions of table `_res`.
    """
    table = "text_model.embeddings.position_embedding"
    kept, stretched = weights[f"{table}_ori.weight"], weights[f"{table}_res.weight"]
    extra = (f"{table}_ori.weight", f"{table}_res.weight", "text_filip_projection.weight")
    scales = ("logit_scale_finegraind", "logit_scale_hardneg")
    return {name: tensor for name, tensor in weights.items() if name not in (*extra, *scales)} | {
        f"{table}.weight": torch.cat([kept[:FG_CLIP_KEPT_POSITIONS], stretched[FG_CLIP_KEPT_POSITIONS:]]),
        "text_projection.weight": weights["text_filip_projection.weight"],
    }
