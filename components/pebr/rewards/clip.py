"""The CLIP reward: how well the image description matches the image, by the cosine of their features.

All samples of a training step are scored together, in batches. Each distinct image is encoded once, and its features
are cached across steps by the hash of its content. Each distinct description is encoded once per step. A model that
fails raises an error: a failure never becomes a reward of 0.

A model reads a limited number of tokens (FG-CLIP 248, CLIP 77). Text after that is cut off, so choose a model whose
limit is larger than the descriptions.
"""

import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pebr.data.images import ImageError, decode
from pebr.rewards.batch import RewardBatch, RewardError
from pebr.rewards.clip_models import FeatureModel, load_feature_model

Item = TypeVar("Item")
COSINE_SCALE = 0.4  # the cosine that scores 1 (authors' released code)
CACHED_IMAGES = 100_000  # features of 512 to 1024 float32 values: 200 to 400 MB at most


class ClipScorer:
    """Cosines of images and texts by one model, with a bounded cache of image features."""

    def __init__(
        self, model: FeatureModel, batch_size: int = 64, cached_images: int = CACHED_IMAGES, on_gpu: bool = False
    ) -> None:
        self.model, self.on_gpu = model, on_gpu
        self.batch_size = batch_size
        self.cached_images = cached_images
        self._features: OrderedDict[bytes, Tensor] = OrderedDict()  # digest of the image file -> (D,) unit vector, CPU
        self._readers = ThreadPoolExecutor(min(8, len(os.sched_getaffinity(0))), thread_name_prefix="clip-images")

    def score(self, images: Sequence[bytes], texts: Sequence[str]) -> list[float]:
        """The cosine of each image file, (S,), with the text at the same index, (S,): (S,) in [-1, 1].

        Raises:
            ImageError: if an image cannot be decoded.
            RewardError: if features are not finite.
        """
        keys = _digests(images)
        features = self._image_features(dict(zip(keys, images, strict=True)))
        distinct = sorted(set(texts), key=lambda text: (len(text), text))  # similar lengths per batch: little padding
        encoded = dict(zip(distinct, self._encode(distinct, self.model.encode_texts), strict=True))
        pairs = zip(keys, texts, strict=True)
        return [float(torch.dot(features[key], encoded[text]).clamp(-1, 1)) for key, text in pairs]

    def cut_off(self, texts: Sequence[str]) -> int:
        """How many texts the model does not read to their end."""
        distinct = sorted(set(texts))
        flags = dict(zip(distinct, self.model.cut_off(distinct), strict=True)) if distinct else {}
        return sum(flags[text] for text in texts)

    def _image_features(self, images: dict[bytes, bytes]) -> dict[bytes, Tensor]:
        """The features of all images, (D,) each, by digest. New images are encoded and cached."""
        new = [key for key in images if key not in self._features]
        for key, feature in zip(new, self._encode([images[key] for key in new], self._encode_images), strict=True):
            self._features[key] = feature
        found = {}
        for key in images:
            self._features.move_to_end(key)
            found[key] = self._features[key]
        while len(self._features) > self.cached_images:
            self._features.popitem(last=False)
        return found

    def _encode_images(self, images: Sequence[bytes]) -> Tensor:
        """Features of image files, (B, D). Threads decode in parallel, since decoding releases the GIL."""
        return self.model.encode_images(torch.stack(list(self._readers.map(self._pixels, images))))

    def _pixels(self, image: bytes) -> Tensor:
        return self.model.preprocess(decode(image))

    def _encode(self, items: Sequence[Item], encode: Callable[[Sequence[Item]], Tensor]) -> list[Tensor]:
        """Features of all items, scaled to length 1: one (D,) float32 CPU tensor per item."""
        features: list[Tensor] = []
        for start in range(0, len(items), self.batch_size):
            with torch.inference_mode():
                batch = encode(items[start : start + self.batch_size]).float()
            if not torch.isfinite(batch).all():
                raise RewardError("clip: the model's features are not finite: check its weights and its dtype")
            features += normalize(batch, dim=-1).cpu().unbind()
        return features


def load_scorer(path_or_name: str, device: str = "cpu") -> ClipScorer:
    """Load a CLIP model and make its scorer; the arguments are those of `load_feature_model`."""
    return ClipScorer(load_feature_model(path_or_name, device), on_gpu=device != "cpu")


def clip_reward(batch: RewardBatch, scorer: ClipScorer) -> list[float]:
    """cos / 0.4 of the description and the question's image, clamped to [0, 1]: (S,).

    A question with several images uses the mean of their cosines. An empty description scores 0, and so does the
    description of a question without an image.

    Raises:
        RewardError: if an image cannot be decoded; it names the question.
    """
    described = [
        (index, image)
        for index, (response, images) in enumerate(zip(batch.parsed, batch.images, strict=True))
        if response.description
        for image in images
    ]
    texts = [batch.parsed[index].description for index, _ in described]
    cosines: list[list[float]] = [[] for _ in range(len(batch))]
    for (index, _), cosine in zip(described, _score(batch, described, texts, scorer), strict=True):
        cosines[index].append(cosine)
    return [max(0.0, min(1.0, sum(row) / len(row) / COSINE_SCALE)) if row else 0.0 for row in cosines]


def first_image_cosines(batch: RewardBatch, texts: Sequence[str], scorer: ClipScorer) -> list[float]:
    """The cosine of each sample's first image with the text at the same index: (S,).

    Raises:
        RewardError: if a question has no image, or an image that cannot be decoded; it names the question.
    """
    for qid, images in zip(batch.qids, batch.images, strict=True):
        if not images:
            raise RewardError(f"clip: question {qid} has no image")
    return _score(batch, [(index, images[0]) for index, images in enumerate(batch.images)], texts, scorer)


def _score(
    batch: RewardBatch, images: Sequence[tuple[int, bytes]], texts: Sequence[str], scorer: ClipScorer
) -> list[float]:
    """Cosines of images (sample index, file) and texts. The error for a broken image names its question."""
    try:
        return scorer.score([image for _, image in images], texts)
    except ImageError as error:
        for index, image in images:
            try:
                decode(image)
            except ImageError:
                raise RewardError(f"clip: question {batch.qids[index]}: {error}") from error
        raise


def _digests(images: Sequence[bytes]) -> list[bytes]:
    """The SHA-256 of each image file. An object that occurs several times is hashed once."""
    by_object = {id(image): image for image in images}
    digests = {key: hashlib.sha256(image).digest() for key, image in by_object.items()}
    return [digests[id(image)] for image in images]
