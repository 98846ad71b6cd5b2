"""The command of a GRPO stage, except that the sampler ignores the trainer's new weights.

python -m tests.grpo.unsynced --model ...
"""

from collections.abc import Iterable

from torch import Tensor

from pebr.grpo.settings import Settings
from pebr.grpo.work import work
from pebr.sampling.vllm_engine import VllmSampler
from pebr.step.command import main


def forget(_sampler: VllmSampler, parameters: Iterable[tuple[str, Tensor]]) -> None:
    """Read the weights, because ranks gather them together, and change nothing."""
    for _ in parameters:
        pass


if __name__ == "__main__":
    VllmSampler.sync = forget
    main(Settings, work)
