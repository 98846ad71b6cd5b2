"""The policy: the training engine, the frozen reference model, and the sampler that takes turns with training."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch import nn

from pebr.grpo.objective import active_terms
from pebr.grpo.second_pass import HEADERS
from pebr.grpo.settings import Settings
from pebr.sampling.contract import Sampler
from pebr.sampling.start import start_for
from pebr.sampling.vllm_args import ADAPTER_RANKS
from pebr.step.launch import Place
from pebr.training import lora
from pebr.training.checkpoints import Checkpoints
from pebr.training.engine import EngineSettings, TrainingEngine
from pebr.training.logprobs import PolicyModel
from pebr.training.memory import check_memory
from pebr.training.zero_loading import frozen, load_trainable
from pebr.vlm.encoding import Encoder
from pebr.vlm.families import train_vision


class Policy:
    """A policy that is trained and sampled from in turns.

    The sampler is asleep while the engine trains, and is woken and given the engine's weights for `sampling`, or its
    LoRA adapters alone if the sampler takes them. A live sampler reads the module that is trained, so it needs no
    weights. The reference is the frozen initial policy, None if no term of the objective needs it.
    """

    def __init__(
        self,
        engine: TrainingEngine,
        module: nn.Module,
        sampler: Sampler,
        live: bool,
        reference: nn.Module | None,
        adapters: bool = False,
    ) -> None:
        self.engine, self.module, self.reference = engine, module, reference
        self._sampler, self._live, self._adapters = sampler, live, adapters
        self._synced_step: int | None = 0  # optimizer updates of the sampler's weights; None: it has none
        self.sync_seconds = 0.0  # of waking the sampler and giving it the weights, the last time

    @contextmanager
    def sampling(self) -> Iterator[Sampler]:
        """The sampler, awake with the policy's weights; the policy is in evaluation mode. All ranks call this."""
        started = time.perf_counter()
        try:
            if not self._live and self._synced_step != self.engine.step:
                self._sampler.wake()
                if self._adapters:
                    self._sampler.sync_adapters(self.engine.gathered_adapters(), lora.SCALING)
                else:
                    self._sampler.sync(self.engine.gathered_parameters())
            self.sync_seconds = time.perf_counter() - started
            self.module.eval()
            yield self._sampler
        finally:
            self.module.train()
            self._synced_step = None
            self._sampler.sleep()

    def close(self) -> None:
        """Close the sampler. The engine stays usable."""
        self._sampler.close()


def load_policy(
    settings: Settings, encoder: Encoder, place: Place, optimizer_updates: int, checkpoints: Checkpoints
) -> Policy:
    """Load the model, start the engine and the sampler; `optimizer_updates` is the number of those of the whole run."""
    options = EngineSettings.of(settings, optimizer_updates, settings.max_prompt_tokens + settings.max_response_tokens)
    refers = any(term.needs_reference for term in active_terms(settings))
    loads_reference = refers and not settings.lora_rank
    check_memory(
        settings.model,
        options,
        place.world_size,
        not settings.freeze_vision,
        settings.lora_rank,
        settings.reference if loads_reference else "none",
        settings.memory_share if settings.sampling == "vllm" else 0.0,
    )
    model = load_trainable(settings.model, options, place)
    train_vision(model, not settings.freeze_vision)
    if settings.lora_rank:
        lora.attach(model, settings.lora_rank, settings.seed)
    module = PolicyModel(model, encoder.banned_token_ids)
    engine = TrainingEngine(module, options, place, weights=model, checkpoints=checkpoints)
    reference: nn.Module | None = None  # loaded before the sampler measures free memory
    if loads_reference:
        wrap = partial(PolicyModel, banned_token_ids=encoder.banned_token_ids)
        reference = frozen(settings.model, options, place, settings.reference == "host", wrap)
    elif refers:
        reference = lora.WithoutAdapters(engine.module)  # the model that training began with
    # The transformers engine can sample from the module that is trained, unless its weights are sharded.
    live = settings.sampling == "transformers" and settings.zero_stage < 3
    adapters = settings.sampling == "vllm" and 0 < settings.lora_rank <= ADAPTER_RANKS[-1]
    sampler = start_for(
        settings,
        settings.model,
        encoder,
        model if live else None,
        sleeps=True,
        lora_rank=settings.lora_rank if adapters else 0,
        further_tokens=settings.sufficiency_tokens + HEADERS if settings.sufficiency_weight else 0,
    )
    return Policy(engine, module, sampler, live, reference, adapters)
