"""The CLIP reward: how well the image description matches the picture, by the cosine of their features.

All samples of a step are scored together: each picture is encoded once, and remembered by its content across steps;
each different description is encoded once; both in batches, on the device of your choice. A model that fails raises:
a failure is never a reward of 0.

A model reads so many tokens (FG-CLIP 248, CLIP 77) and no more: what a longer description says after them is scored by
the keyword reward alone, so choose a model whose window holds the descriptions.
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
from pebr.rewards.batch import RewardBatch
from pebr.rewards.clip_models import FeatureModel, load_feature_model
from pebr.rewards.errors import RewardError

Item = TypeVar("Item")
COSINE_SCALE = 0.4  # the cosine that is worth 1 (method.md)
CACHED_IMAGES = 100_000  # features of 512 to 1024 float32 values: 200 to 400 MB at most


class ClipScorer:
    """Cosines of pictures and texts, by one model, with a bounded memory of picture features."""

    def __init__(self, model: FeatureModel, batch_size: int = 64, cached_images: int = CACHED_IMAGES) -> None:
        self.model = model
        self.batch_size = batch_size
        self.cached_images = cached_images
        self._features: OrderedDict[bytes, Tensor] = OrderedDict()  # digest of the file -> (D,) unit vector, CPU
        self._readers = ThreadPoolExecutor(min(8, len(os.sched_getaffinity(0))), thread_name_prefix="clip-images")

    def score(self, images: Sequence[bytes], texts: Sequence[str]) -> list[float]:
        """The cosine of each picture with the text at the same place, (S,) in [-1, 1].

        Args:
            images: encoded pictures, (S,); equal ones are encoded once.
            texts: (S,); what is longer than the model reads is cut off; equal ones are encoded once.

        Raises:
            ImageError: for a picture that cannot be decoded.
            RewardError: for features that are not finite.
        """
        keys = _digests(images)
        features = self._image_features(dict(zip(keys, images, strict=True)))
        different = sorted(
            set(texts), key=lambda text: (len(text), text)
        )  # neighbours of a length pad each other little
        encoded = dict(zip(different, self._encode(different, self.model.encode_texts), strict=True))
        pairs = zip(keys, texts, strict=True)
        return [float(torch.dot(features[key], encoded[text]).clamp(-1, 1)) for key, text in pairs]

    def _image_features(self, pictures: dict[bytes, bytes]) -> dict[bytes, Tensor]:
        """The features of all pictures, (D,) each, by digest; new ones are encoded and remembered."""
        new = [key for key in pictures if key not in self._features]
        for key, feature in zip(new, self._encode([pictures[key] for key in new], self._encode_pictures), strict=True):
            self._features[key] = feature
        found = {}
        for key in pictures:
            self._features.move_to_end(key)
            found[key] = self._features[key]
        while len(self._features) > self.cached_images:
            self._features.popitem(last=False)
        return found

    def _encode_pictures(self, pictures: Sequence[bytes]) -> Tensor:
        """Features of encoded pictures, (B, D); files are read side by side, as decoding leaves Python's lock."""
        return self.model.encode_images(torch.stack(list(self._readers.map(self._pixels, pictures))))

    def _pixels(self, picture: bytes) -> Tensor:
        return self.model.preprocess(decode(picture))

    def _encode(self, items: Sequence[Item], encode: Callable[[Sequence[Item]], Tensor]) -> list[Tensor]:
        """Unit features of all items, batch by batch: a list of (D,) float32 CPU tensors."""
        features: list[Tensor] = []
        for start in range(0, len(items), self.batch_size):
            with torch.inference_mode():
                batch = encode(items[start : start + self.batch_size]).float()
            if not torch.isfinite(batch).all():
                raise RewardError("clip: the model's features are not finite: are its weights or its dtype at fault?")
            features += normalize(batch, dim=-1).cpu().unbind()
        return features


def load_scorer(path_or_name: str, device: str = "cpu") -> ClipScorer:
    """The scorer of a CLIP model.

    Args:
        path_or_name: see `pebr.rewards.clip_models.load_feature_model`.
        device: where the model runs, for example "cpu" or "cuda:0".

    Raises:
        InputError: when there is no such model.
    """
    return ClipScorer(load_feature_model(path_or_name, device))


def clip_reward(batch: RewardBatch, scorer: ClipScorer) -> list[float]:
    """min(1, cos / 0.4), not below 0, of the description and the question's picture: (S,) in [0, 1].

    An empty description is worth 0, and so is one of a question without a picture. With several pictures it is the mean
    of their cosines.

    Raises:
        RewardError: names the question whose picture cannot be decoded.
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
    """The cosine of each sample's first picture with a text, (S,).

    Raises:
        RewardError: names the question that has no picture, or whose picture cannot be decoded.
    """
    for qid, images in zip(batch.qids, batch.images, strict=True):
        if not images:
            raise RewardError(f"clip: question {qid} has no picture")
    return _score(batch, [(index, images[0]) for index, images in enumerate(batch.images)], texts, scorer)


def _score(
    batch: RewardBatch, pictures: Sequence[tuple[int, bytes]], texts: Sequence[str], scorer: ClipScorer
) -> list[float]:
    """Cosines of pictures (sample, file) and texts; a picture that cannot be decoded is reported with its question."""
    try:
        return scorer.score([image for _, image in pictures], texts)
    except ImageError as error:
        for index, image in pictures:
            try:
                decode(image)
            except ImageError:
                raise RewardError(f"clip: question {batch.qids[index]}: {error}") from error
        raise


def _digests(images: Sequence[bytes]) -> list[bytes]:
    """The SHA-256 of each picture's file; an object that stands at several places is read once."""
    by_object = {id(image): image for image in images}
    digests = {key: hashlib.sha256(image).digest() for key, image in by_object.items()}
    return [digests[id(image)] for image in images]
