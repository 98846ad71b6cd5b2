"""Further arguments of vLLM: their form and pebr's own names are checked at once, the others against vLLM's names."""

import pytest

from pebr.errors import InputError
from pebr.evaluate.settings import Settings
from pebr.sampling.vllm_args import OWN, check_names, parse


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_num_seqs=4", "--vllm-args max_num_seqs=4: not JSON"),
        ("[1]", "not a JSON object"),
        ('{"dtype": "half"}', "--vllm-args: dtype: give --dtype instead"),
        ('{"gpu_memory_utilization": 0.5}', "give --memory-share instead"),
        ('{"logprobs_mode": "raw_logprobs"}', "logprobs_mode: pebr relies on its own value: leave it out"),
    ],
)
def test_wrong_arguments_are_refused_with_the_settings_of_a_step(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        Settings(model="m", benchmarks="b", output="o", vllm_args=text)
    assert "\n" not in str(error.value)


def test_the_others_are_passed_on() -> None:
    assert parse("") == {}
    given = parse('{"enforce_eager": true, "speculative_config": {"method": "ngram"}}')
    assert given == {"enforce_eager": True, "speculative_config": {"method": "ngram"}}
    check_names(given, ["enforce_eager", "speculative_config"])
    with pytest.raises(InputError, match="has no argument enforce_eagre: did you mean enforce_eager"):
        check_names({"enforce_eagre": True}, ["enforce_eager"])


def test_vllm_has_the_names_that_are_refused() -> None:
    """So that a renamed argument is found; read from the source, because an import takes seconds."""
    import ast
    import importlib.util
    from pathlib import Path

    spec = importlib.util.find_spec("vllm")
    if spec is None or spec.origin is None:
        pytest.skip("vLLM is not installed")
    tree = ast.parse((Path(spec.origin).parent / "engine" / "arg_utils.py").read_text())
    (cls,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "EngineArgs"]
    names = {
        node.target.id for node in cls.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    assert set(OWN) <= names
