"""The blind view of a question: most of its image's tokens are hidden, so that what an answer owes to seeing shows.

Hidden tokens stay in the row, but no token attends to them (`pebr.vlm.attention`). PAPO (arXiv 2507.06448) blackens
patches of the image instead; hiding tokens needs no other image data and no second prompt.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pebr.sampling.contract import sample_seed


def hidden_tokens(
    token_ids: Sequence[int], image_token_id: int, share: float, seed: int, step: int, qid: str
) -> Tensor:
    """Which tokens of a prompt are hidden: each token of an image with probability `share`.

    The same coordinates hide the same tokens, so a resumed run and all ranks agree.

    Args:
        token_ids: P tokens of the prompt.
        image_token_id: the token that stands for a piece of an image.
        share: probability, 0 to 1.
        seed: of the run.
        step: optimizer updates done so far.
        qid: of the question.

    Returns:
        (P,) bool.
    """
    draws = torch.rand(len(token_ids), generator=torch.Generator().manual_seed(sample_seed(seed, step, qid, -1)))
    return (torch.tensor(token_ids) == image_token_id) & (draws < share)
