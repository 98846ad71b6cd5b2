"""The overlong penalty is the formula of DAPO."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pebr.answers.check import AnswerChecker
from pebr.errors import InputError
from pebr.rewards.batch import RewardBatch
from pebr.rewards.overlong import overlong_reward
from pebr.rewards.settings import RewardSettings
from pebr.rewards.stages import Tools, build_reward

Make = Callable[..., RewardBatch]


@given(st.integers(1, 400), st.integers(1, 400), st.lists(st.integers(1, 400), min_size=1, max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_penalty_grows_evenly_to_the_limit(make_batch: Make, limit: int, margin: int, lengths: list[int]) -> None:
    margin = min(margin, limit)
    lengths = [min(length, limit) for length in lengths]
    found = overlong_reward(make_batch([""] * len(lengths), response_tokens=lengths), margin, limit)
    for length, value in zip(lengths, found, strict=True):
        expected = 0.0 if length <= limit - margin else ((limit - margin) - length) / margin
        assert value == pytest.approx(expected)
        assert -1 <= value <= 0


def test_it_is_part_of_either_stage_if_it_has_a_weight(checker: AnswerChecker, make_batch: Make) -> None:
    tools = Tools(checker, len, max_response_tokens=100)
    chosen = RewardSettings(overlong_weight=0.5, overlong_tokens=20, accuracy_weight=0.0)
    scores = build_reward(chosen, tools).reward(make_batch(["a", "b"], response_tokens=[80, 100]))
    assert scores.raw["overlong"] == [0.0, -1.0]
    assert scores.weighted["overlong"] == [0.0, -0.5]
    with pytest.raises(InputError, match="without a limit of the answers' tokens"):
        build_reward(chosen, tools._replace(max_response_tokens=None))
