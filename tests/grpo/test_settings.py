"""Settings that contradict each other are refused before a model is loaded."""

import pytest

from pebr.errors import InputError
from pebr.grpo.settings import Settings

PATHS = {name: name for name in ("model", "dataset", "output", "history", "rollouts")}


@pytest.mark.parametrize(
    "wrong",
    [
        {"samples": 1},
        {"epochs": 0},
        {"max_steps": -1},
        {"questions_per_update": 0},
        {"questions_per_step": 4, "questions_per_update": 8},
        {"questions_per_step": 12, "questions_per_update": 8},
        {"temperature": 0.0},
        {"top_p": 0.9},
        {"stage": "perception"},
        {"ratio": "sequence", "credit": "pgpo"},
        {"ratio": "sequence", "separate_advantages": True},
        {"ratio": "sequence", "sampler_correction": "mask", "old_logprobs": "recompute"},
    ],
    ids=str,
)
def test_refused(wrong):
    with pytest.raises(InputError, match="--"):
        Settings(**PATHS, **wrong)


def test_the_methods_numbers_are_accepted():
    Settings(**PATHS, questions_per_step=560, questions_per_update=112, stage="perception", clip_model="clip")
    Settings(**PATHS, questions_per_step=512, questions_per_update=128, epochs=2)
    Settings(**PATHS, top_p=0.9, old_logprobs="recompute")


def test_further_methods_are_off_by_default():
    settings = Settings(**PATHS)
    off = {
        "ratio": "token",
        "surrogate": "clip",
        "sampler_correction": "none",
        "credit": "even",
        **dict.fromkeys(("off_policy_limit", "entropy_weight", "seeing_weight", "variance_share"), 0.0),
        **dict.fromkeys(("overlong_weight", "sufficiency_weight"), 0.0),
        **dict.fromkeys(("replacement_rounds", "noise"), 0),
        **dict.fromkeys(("leave_out_cut_off", "separate_advantages"), False),
    }
    assert {name: getattr(settings, name) for name in off} == off
