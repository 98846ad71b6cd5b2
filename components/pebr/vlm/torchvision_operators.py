"""Make torchvision importable together with a torch build that it does not match, for example a CPU torch.

torchvision registers Python kernels for `torchvision::nms` and `::qnms` at import. Its compiled library defines these
operators. If that library does not load, the import fails, although the image transforms, the only part used here, are
plain Python. With the two signatures declared first, the import works; calling the operators still raises an error.

Import this module before transformers' image processors, open_clip or vLLM; `pebr.vlm.families` does.
"""

import importlib.util
from pathlib import Path

import torch


def _library_loads() -> bool:
    """True when torchvision is installed and its compiled operators load into this torch."""
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


if not hasattr(torch.ops.torchvision, "nms") and not _library_loads():
    LIBRARY = torch.library.Library("torchvision", "DEF")  # its definitions live as long as the object
    LIBRARY.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    LIBRARY.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
