"""The second sampling pass of a training step: each question again, without its image, from an answer's description.

The same engine with the same weights samples it. The prompt is the question without its images, and the beginning of an
answer: the description, and the header of the rationales. So the model goes on in the form that the warm-up has taught.
(Vision-SR1 and PRCO ask with further instructions, which the model has to know.)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from pebr.grpo.scoring import Answered
from pebr.grpo.settings import Settings
from pebr.sampling.contract import Question, Sampler, SamplingSettings, check_complete, is_finite, sample_seed
from pebr.vlm.encoding import Encoder
from pebr.vlm.response import begun, parse

HEADERS = 32  # at least the tokens of the headers around a description


class Retold(NamedTuple):
    """What the model answers from the descriptions of S responses."""

    texts: list[str]  # (S,), "" for a response without a description
    tokens: int  # sampled for them
    broken: list[bool]  # (S,) whether the log-probabilities of the second answer are not finite


@dataclass(frozen=True)
class SecondPass:
    """Samples answers from descriptions."""

    encoder: Encoder
    sampling: SamplingSettings  # with one answer per description
    longest: int  # tokens of a description; a longer one counts as none: an engine may have no room for it

    @classmethod
    def of(cls, settings: Settings, encoder: Encoder) -> Self:
        """The pass of a stage. Its random numbers are its own: the answers stay as they are without it."""
        seed = sample_seed(settings.seed, 0, "second pass", 0)
        sampling = SamplingSettings(1, settings.sufficiency_temperature, 1.0, settings.sufficiency_tokens, seed)
        return cls(encoder, sampling, settings.max_response_tokens)

    def answers(self, sampler: Sampler, answered: Sequence[Answered], step: int) -> Retold:
        """Answer each question from the description of each response to it.

        Equal descriptions of a question are asked about once, so that they have the same reward. The random numbers
        follow from the question and the place of the first response with a description. All ranks call this, also
        without questions: ranks that share a model sample in lockstep.

        Args:
            sampler: has the policy's weights.
            answered: the questions with their responses, S in all.
            step: the training step, from 0.

        Raises:
            IncompleteError: the engine gave up an answer.
        """
        keys: list[tuple[str, str]] = []  # (S,) question and description
        names: dict[tuple[str, str], str] = {}  # names of those to ask about; they determine the random numbers
        for question, samples in answered:
            for place, sample in enumerate(samples):
                keys.append((question["qid"], self._description(sample.token_ids)))
                if keys[-1][1]:
                    names.setdefault(keys[-1], f"{question['qid']}/{place}")
        problems = {question["qid"]: question["problem"] for question, _ in answered}

        def asked() -> Iterator[Question]:
            for (qid, description), name in names.items():
                yield Question(name, self.encoder.blind_prompt(problems[qid], begun(description)))

        found: dict[str, str] = {}
        broken: set[str] = set()
        tokens = 0
        for name, samples in sampler.stream(asked(), self.sampling, step):
            check_complete(name, samples, self.sampling)
            found[name] = self.encoder.decode(samples[0].token_ids)
            tokens += len(samples[0].token_ids)
            if not is_finite(samples[0]):
                broken.add(name)
        texts = [found[names[key]] if key in names else "" for key in keys]
        return Retold(texts, tokens, [names.get(key) in broken for key in keys])

    def _description(self, token_ids: Sequence[int]) -> str:
        """The description in an answer's tokens; "" for none, or one that is too long."""
        description = parse(self.encoder.decode(token_ids)).description
        return description if self.encoder.count_tokens(description) <= self.longest else ""
