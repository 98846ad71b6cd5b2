"""Further arguments of vLLM's engine, given as JSON: `--vllm-args '{"max_num_seqs": 512, "kv_cache_dtype": "fp8"}'`.

Their form, and the names that pebr sets itself, are checked at once; the other names when the engine starts, against
those that the installed vLLM has. This module imports no vLLM.
"""

import difflib
import json
from collections.abc import Collection, Mapping

from pebr.errors import InputError

ADAPTER_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # for which vLLM reserves memory
# Arguments that pebr sets itself, and what to give instead.
_FOR_ANSWERS = "pebr relies on its own value"
OWN = {
    "model": "--model",
    "dtype": "--dtype",
    "max_model_len": "--max-prompt-tokens and --max-response-tokens",
    "tensor_parallel_size": "--tensor-parallel",
    "gpu_memory_utilization": "--memory-share",
    "kv_cache_memory_bytes": "--memory-share",
    "seed": "--seed",
    "enable_lora": "--lora-rank",
    "max_lora_rank": "--lora-rank",
    "max_loras": "--lora-rank",
    "distributed_executor_backend": "--processes and --tensor-parallel",
    "mm_processor_kwargs": "--min-pixels and --max-pixels",
    "enable_sleep_mode": _FOR_ANSWERS,
    "enable_prefix_caching": _FOR_ANSWERS,
    "logprobs_mode": _FOR_ANSWERS,
    "generation_config": _FOR_ANSWERS,
    "limit_mm_per_prompt": _FOR_ANSWERS,
    "mm_device_do_normalize": _FOR_ANSWERS,
    "mm_processor_cache_gb": _FOR_ANSWERS,
}


def parse(text: str) -> dict[str, object]:
    """The arguments of a `--vllm-args`; {} for an empty text.

    Raises:
        InputError: it is no JSON object, or names an argument that pebr sets itself.

    >>> parse('{"max_num_seqs": 512}')
    {'max_num_seqs': 512}
    """
    try:
        given = json.loads(text or "{}")
    except ValueError as error:
        raise InputError(f'--vllm-args {text}: not JSON ({error}): write {{"max_num_seqs": 512}}') from None
    if not isinstance(given, dict):
        raise InputError(f'--vllm-args {text}: not a JSON object: write {{"max_num_seqs": 512}}')
    for name in given:
        if name in OWN:
            instead = f"give {OWN[name]} instead" if OWN[name].startswith("--") else OWN[name]
            raise InputError(f"--vllm-args: {name}: {instead}: leave it out")
    return given


def check_names(given: Mapping[str, object], known: Collection[str]) -> None:
    """Check the names of arguments against those that vLLM has.

    Raises:
        InputError: with the names that are similar.

    >>> check_names({"max_num_seq": 8}, ["max_num_seqs", "max_model_len"])
    Traceback (most recent call last):
    ...
    pebr.errors.InputError: --vllm-args: this vLLM has no argument max_num_seq: did you mean max_num_seqs?
    """
    for name in given:
        if name not in known:
            similar = difflib.get_close_matches(name, known, n=3)
            hint = f"did you mean {' or '.join(similar)}?" if similar else "see the arguments of vLLM's EngineArgs"
            raise InputError(f"--vllm-args: this vLLM has no argument {name}: {hint}")
