"""Make torchvision importable beside a torch build that it does not match (a CPU torch, for one).

torchvision registers Python kernels for `torchvision::nms` and `::qnms` at import. Its compiled library defines these
operators; where that library cannot load, the import fails, although the image transforms, the only part used here, are
plain Python. Declaring the two signatures first lets the import through; calling the operators still fails, loudly.
"""

import importlib.util
from pathlib import Path

import torch

_kept: list[torch.library.Library] = []  # a Library's definitions live as long as the object


def declare() -> None:
    """Declare torchvision's operators where its own library does not load; do nothing where it does."""
    if _kept or hasattr(torch.ops.torchvision, "nms"):
        return
    if _library_loads():
        return
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define(
        "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    )
    _kept.append(library)


def _library_loads() -> bool:
    """True when torchvision is there and its compiled operators load into this torch."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    for path in Path(spec.origin).parent.glob("_C*.so"):
        try:
            torch.ops.load_library(path)
        except OSError:
            return False
        return True
    return False
