"""The engine `transformers`: Hugging Face's model code with its own decoding loop, one prefill per question.

Compared to `model.generate`, several questions are decoded together, each prompt is computed once, and its key-value
cache is stored and read once (`shared_prompt`). A sample in float32 does not depend on the rest of the batch: a prompt
is computed alone, the rows of a decoding step are padded to a multiple of 16 (from there on, matrix products round a
row in the same way whatever the other rows are), and each sample has its own random numbers. The engine can sample from
the module that is being trained; then no weights are synced.

There is no paging, and no question joins a running batch. If the model's layers carry a state, questions are decoded
one after another, with a copy of the prompt's cache per answer. For large models use vLLM.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pebr.sampling.contract import Question, Sample, SamplingSettings, SyncError, in_order, sample_seed
from pebr.sampling.copied_prompt import CopiedPromptCache, evaluating
from pebr.sampling.distribution import draw, next_token_logprobs, uniforms_of
from pebr.sampling.shared_prompt import KeyValues, SharedPromptCache, attention_of, padded_rows
from pebr.sampling.weights import checked
from pebr.vlm.encoding import Encoder, Prompt
from pebr.vlm.families.contract import Inputs, Model
from pebr.vlm.loading import load_model

ROWS = 256  # answers that are decoded together


class _Prefilled(NamedTuple):
    """A question whose prompt has been computed."""

    cache: KeyValues | Any  # `DynamicCache` of transformers if the family carries state
    hidden: Tensor  # (D,) of the prompt's last token
    position: int  # of the first answer token


class TransformersSampler:
    """The engine `transformers`; its methods are described in `pebr.sampling.contract.Sampler`."""

    def __init__(self, model_path: Path | str, encoder: Encoder, dtype: torch.dtype, model: nn.Module | None) -> None:
        self.live = model is not None
        self.model: Model = model if model is not None else load_model(model_path, dtype)
        encoder.family.prepare(self.model)
        if not self.live and torch.cuda.is_available():
            self.model.to("cuda")
        self.encoder, self.family = encoder, encoder.family

    def stream(
        self, questions: Iterable[Question], settings: SamplingSettings, step: int
    ) -> Iterator[tuple[str, list[Sample]]]:
        source = iter(questions)
        while wave := list(itertools.islice(source, max(1, ROWS // settings.samples))):
            yield from zip((question.question_id for question in wave), self._wave(wave, settings, step), strict=True)

    def sample(
        self, prompts: Sequence[Prompt], question_ids: Sequence[str], settings: SamplingSettings, step: int
    ) -> list[list[Sample]]:
        return in_order(self, prompts, question_ids, settings, step)

    def sync(self, parameters: Iterable[tuple[str, Tensor]]) -> None:
        if self.live:
            raise SyncError("this sampler uses the trainer's own module: there is nothing to sync")
        own = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, tensor in checked(parameters, {name: parameter.shape for name, parameter in own.items()}):
                own[name].copy_(tensor)

    def sync_adapters(self, parameters: Iterable[tuple[str, Tensor]], scaling: int) -> None:
        raise SyncError("this sampler takes no adapters: sync the merged weights")

    def sleep(self) -> None:
        """Does nothing: the key-value cache exists only while sampling."""

    def wake(self) -> None:
        """Does nothing."""

    def close(self) -> None:
        self.model = None

    @torch.no_grad()
    def _wave(self, wave: Sequence[Question], settings: SamplingSettings, step: int) -> list[list[Sample]]:
        """The answers to a batch of questions, decoded together."""
        if self.family.carries_state:
            with evaluating(self._text_model()):  # question by question: their answers cannot share a cache
                found = (self._decode([q.question_id], [self._prefill(q.prompt)], settings, step) for q in wave)
                return [answers for (answers,) in found]
        with attention_of(self._text_model()):
            prefilled = [self._prefill(question.prompt) for question in wave]
            return self._decode([question.question_id for question in wave], prefilled, settings, step)

    def _text_model(self) -> Model:
        return self.model.get_submodule(self.family.language_model)

    def _prefill(self, prompt: Prompt) -> _Prefilled:
        """Compute a prompt alone: vision tower, then text model."""
        from transformers import DynamicCache

        device = self.model.device
        positions = self.encoder.positions(prompt)  # (A, P)
        token_ids = torch.tensor([prompt.token_ids])
        states = self.family.carries_state
        cache: Any = DynamicCache(config=self._text_model().config) if states else DynamicCache()
        hidden = self.family.hidden_states(
            self.model,
            Inputs(
                token_ids.to(device),
                positions[:, None].to(device),
                None if prompt.pixel_values is None else prompt.pixel_values.to(device),
                prompt.image_grids,
                (token_ids[0] == self.encoder.image_token_id).nonzero()[:, 0].to(device),
            ),
            attention_mask=None if states else torch.zeros(1, 1, 1, 1, device=device),  # see `SharedPromptCache`
            past_key_values=cache,
            use_cache=True,
        )
        if states:
            return _Prefilled(cache, hidden[0, -1], int(positions.max()) + 1)
        layers = [(layer.keys[0], layer.values[0]) for layer in cache.layers]
        return _Prefilled(layers, hidden[0, -1], int(positions.max()) + 1)

    def _decode(
        self, question_ids: Sequence[str], prefilled: Sequence[_Prefilled], settings: SamplingSettings, step: int
    ) -> list[list[Sample]]:
        """Draw token after token until all answers have ended; finished questions leave the batch."""
        answers = settings.samples
        device = self.model.device
        text, head = self._text_model(), self.model.get_output_embeddings()
        cache = self._cache([question.cache for question in prefilled], answers)
        seeds = [sample_seed(settings.seed, step, qid, place) for qid in question_ids for place in range(answers)]
        uniforms = uniforms_of(seeds, settings.max_response_tokens).to(device)  # (B, R)
        ends = torch.tensor(self.encoder.eos_token_ids, device=device)
        # Of all answers of the batch, finished or not; `live` are the indices of the answers still in the cache.
        tokens = torch.zeros(uniforms.shape, dtype=torch.long, device=device)  # (B, R)
        logprobs = torch.zeros(uniforms.shape, device=device)
        lengths = torch.zeros(len(seeds), dtype=torch.long, device=device)
        live = torch.arange(len(seeds), device=device)
        done = torch.zeros(len(seeds), dtype=torch.bool, device=device)
        hidden = torch.stack([question.hidden for question in prefilled]).repeat_interleave(answers, dim=0)
        start = torch.tensor([question.position for question in prefilled], device=device).repeat_interleave(answers)

        for place in range(settings.max_response_tokens):
            allowed = next_token_logprobs(
                head(_pad_rows(hidden))[: len(live)],
                settings.temperature,
                settings.top_p,
                self.encoder.banned_token_ids,
            )
            chosen = allowed.argmax(-1) if settings.temperature == 0 else draw(allowed, uniforms[live, place])
            tokens[live, place] = chosen
            logprobs[live, place] = allowed.gather(1, chosen[:, None])[:, 0]
            lengths[live] += ~done[live]
            done[live] |= torch.isin(chosen, ends)
            if place + 1 == settings.max_response_tokens:
                break
            open_questions = (~done[live]).view(-1, answers).any(dim=1)
            if not open_questions.any():
                break
            if open_questions.float().mean() <= 0.75:  # copying the cache costs about one decoding step
                cache.keep(open_questions.nonzero()[:, 0])
                stay = open_questions.repeat_interleave(answers)
                live, chosen = live[stay], chosen[stay]
            positions = _pad_rows(start[live] + place)
            hidden = text(
                inputs_embeds=text.get_input_embeddings()(_pad_rows(chosen))[:, None],
                position_ids=positions.expand(self.family.position_axes, -1)[:, :, None],
                use_cache=True,
                **cache.arguments,
            ).last_hidden_state[: len(live), 0]
            cache.advance()
        return _samples(tokens.cpu(), logprobs.cpu(), lengths.tolist(), done.tolist(), answers)

    def _cache(self, prompts: Sequence[KeyValues | Any], answers: int) -> SharedPromptCache | CopiedPromptCache:
        """The cache of so many answers to each of these prompts."""
        if self.family.carries_state:
            (prompt,) = prompts
            return CopiedPromptCache(prompt, padded_rows(answers), self.model.device)
        return SharedPromptCache(prompts, answers)


def _samples(
    tokens: Tensor, logprobs: Tensor, lengths: list[int], done: list[bool], answers: int
) -> list[list[Sample]]:
    """The answers of a finished batch, by question."""
    rows = [
        Sample(tokens[i, :length].tolist(), logprobs[i, :length].tolist(), "stop" if done[i] else "length")
        for i, length in enumerate(lengths)
    ]
    return [rows[i : i + answers] for i in range(0, len(rows), answers)]


def _pad_rows(rows: Tensor) -> Tensor:
    """(B, ...) padded with zeros to a multiple of 16 rows."""
    missing = padded_rows(rows.shape[0]) - rows.shape[0]
    return torch.cat([rows, rows.new_zeros(missing, *rows.shape[1:])]) if missing else rows
