"""From questions to experience: sampled answers, their rewards, their advantages.

Ranks divide a training step's questions for sampling, then exchange the results: token ids, log-probabilities and
rewards are small. So every rank knows the whole step, and updates can be divided by length (`pebr.grpo.micro_batches`).
While a rank samples, threads encode its further questions (`pebr.grpo.prompts`) and score the answers that are finished
(`pebr.grpo.scoring`).
"""

import logging
import time
from array import array
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import compress, islice
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from pebr.grpo.advantages import group_advantages
from pebr.grpo.noise import Noise
from pebr.grpo.prompts import Prompts, noisy
from pebr.grpo.questions import QuestionRow
from pebr.grpo.scoring import Answered, Scoring
from pebr.grpo.second_pass import Retold, SecondPass
from pebr.grpo.separate import Separate, description_tokens, separate
from pebr.rewards.stages import Scores, StageReward
from pebr.sampling.contract import (
    Sample,
    Sampler,
    SamplingSettings,
    check_complete,
    check_not_finite,
    is_finite,
)
from pebr.step.launch import Place
from pebr.vlm.encoding import Encoder

log = logging.getLogger(__name__)


class Experience(NamedTuple):
    """A question with its G answers, their rewards and advantages.

    Answers whose log-probabilities are not finite are not among the G.
    """

    row: int  # of the question in the dataset
    question: Mapping[str, object]  # qid, problem, answer, key_words
    prompt_tokens: int  # P
    token_ids: list["array[int]"]  # (G,) of R tokens each
    logprobs: list["array[float]"]  # (G,) of R values each, from the sampler
    finish_reasons: list[str]  # (G,)
    responses: list[str]  # (G,) decoded texts
    rewards: list[float]  # (G,)
    components: dict[str, list[float]]  # component -> (G,), before its weight
    advantages: Tensor  # (G,) float32
    owner: int = 0  # the rank that has the encoded question
    disturbed: Sequence[bool] = ()  # (G,) whether the sampler saw a disturbed image; () if none did
    separate: Separate | None = None  # advantages by kind of token; None: all tokens of an answer have its advantage

    @property
    def teaches(self) -> bool:
        """False if all rewards are equal: then every advantage is 0."""
        return bool(self.advantages.any()) or (self.separate is not None and self.separate.teaches)

    @property
    def token_advantages(self) -> Tensor:
        """The advantages of the tokens of all G answers, one after another, (T,)."""
        lengths = [len(ids) for ids in self.token_ids]
        if self.separate is not None:
            return self.separate.of_tokens(self.advantages, lengths)
        return self.advantages.repeat_interleave(torch.tensor(lengths, dtype=torch.long))

    def complete(self) -> "Experience":
        """The experience without answers that are cut off; advantages stay those of the whole group."""
        kept = [place for place, reason in enumerate(self.finish_reasons) if reason != "length"]
        return self._replace(
            token_ids=[self.token_ids[place] for place in kept],
            logprobs=[self.logprobs[place] for place in kept],
            finish_reasons=[self.finish_reasons[place] for place in kept],
            responses=[self.responses[place] for place in kept],
            rewards=[self.rewards[place] for place in kept],
            components={name: [values[place] for place in kept] for name, values in self.components.items()},
            advantages=self.advantages[kept],
            disturbed=[self.disturbed[place] for place in kept] if self.disturbed else (),
            separate=self.separate and self.separate.kept(kept),
        )

    @property
    def answer_tokens(self) -> int:
        """Tokens of all G answers."""
        return sum(len(ids) for ids in self.token_ids)


@dataclass
class Collector:
    """Samples answers to questions and rewards them."""

    dataset: Sequence[QuestionRow]
    encoder: Encoder
    sampling: SamplingSettings
    reward: StageReward
    advantage: str  # see `group_advantages`
    place: Place
    prompts: Prompts
    second_pass: SecondPass | None = None  # None: no component of the reward needs it
    noise: Noise | None = None  # of the images from which half of the answers are sampled
    separate_advantages: bool = False  # by kind of token, if the reward has components of both kinds
    # Of the last call of `collect`, on this rank: seconds of work and of waiting. The work of threads overlaps.
    seconds: defaultdict[str, float] = field(default_factory=partial(defaultdict, float))
    # Seconds per component; of all ranks, failed checks, answers left out, tokens of the second pass, and the share of
    # descriptions that CLIP reads in part.
    measured: defaultdict[str, float] = field(default_factory=partial(defaultdict, float))
    left_out: dict[str, int] = field(default_factory=dict)  # of all ranks, answers by qid

    def collect(
        self, sampler: Sampler, rows: Sequence[int], step: int, reserve: Sequence[int] = (), rounds: int = 0
    ) -> list[Experience]:
        """Sample and reward G answers per question of a training step. Returns the experience, in the order of `rows`.

        All ranks call this with the same arguments, the rows for all ranks, and get the same experience.

        Args:
            sampler: has the policy's weights.
            rows: of the dataset.
            step: the training step, from 0.
            reserve: other rows. Those whose answers differ in reward replace questions whose answers do not (dynamic
                sampling, DAPO, arXiv 2503.14476).
            rounds: how often as many of them are sampled as there are questions to replace.

        Raises:
            SampleError: too many answers have log-probabilities that are not finite.
            RewardError: a component cannot score a sample.
        """
        self.seconds, self.measured, self.left_out = defaultdict(float), defaultdict(float), {}
        if rounds:
            self.measured["questions_replaced"] = 0.0
        found, sampled, left = self._sample(sampler, rows, step), len(rows), iter(reserve)
        for _ in range(rounds):
            dull = [place for place, experience in enumerate(found) if not experience.teaches]
            further = list(islice(left, len(dull)))
            if not further:
                break
            sampled += len(further)
            teaching = [e for e in self._sample(sampler, further, step, further=True) if e.teaches]
            for place, experience in zip(dull, teaching, strict=False):
                found[place] = experience
            self.measured["questions_replaced"] += len(teaching)
        if (warning := check_not_finite(self.left_out, sampled * self.sampling.samples)) and self.place.rank == 0:
            log.warning("%s", warning)
        if self.noise is not None:
            self.measured["noise"] = self.noise.strength(step)
        if "clip_cut_off_share" in self.measured:  # until now, a number
            self.measured["clip_cut_off_share"] /= sampled * self.sampling.samples
        return found

    def _sample(self, sampler: Sampler, rows: Sequence[int], step: int, further: bool = False) -> list[Experience]:
        """Sample and reward answers once; `further` if the step has had questions before."""
        started = time.perf_counter()
        rank, ranks = self.place.rank, self.place.world_size
        mine = rows[rank::ranks]
        read = {row: self.dataset[row] for row in sorted(mine)}  # neighbours are in one row group of the file
        questions = {row: read[row] for row in mine}
        by_qid = {question["qid"]: question for question in questions.values()}
        finite: dict[str, list[Sample]] = {}
        disturbed: dict[str, Sequence[bool]] = {}
        with Scoring(self.reward, self.encoder.decode) as scoring:
            for qid, samples, seen in self._answers(sampler, questions, step, further):
                finite[qid], disturbed[qid] = samples, seen
                scoring.add(Answered(by_qid[qid], samples))
            sampled = time.perf_counter()
            retold = Retold([], 0, [])
            if self.second_pass:
                answered = [Answered(question, finite[qid]) for qid, question in by_qid.items()]
                retold = self.second_pass.answers(sampler, answered, step)
            told = time.perf_counter()
            responses, scores = scoring.scores(list(by_qid), retold.texts)
        done = time.perf_counter()
        if any(retold.broken):
            responses, scores = _without(retold.broken, finite, disturbed, responses, scores)
        left_out = {qid: self.sampling.samples - len(samples) for qid, samples in finite.items()}
        experiences = [
            experience._replace(disturbed=disturbed[str(experience.question["qid"])])
            for experience in self._experiences(questions, finite, responses, scores)
        ]
        gathered: list[Any] = [None] * ranks
        dist.all_gather_object(gathered, (experiences, left_out, scores.failures, scores.cut_off, retold.tokens))
        self.seconds["encode"] += self.prompts.seconds
        self.seconds["sampling"] += sampled - started
        self.seconds["rewards"] += scoring.seconds
        if self.second_pass:
            self.seconds["sufficiency"] += told - sampled
        self.seconds["waiting"] += self.prompts.waited + done - told
        self._measure(gathered, scores.seconds)
        return [gathered[place % ranks][0][place // ranks] for place in range(len(rows))]

    def _answers(
        self, sampler: Sampler, questions: Mapping[int, QuestionRow], step: int, further: bool
    ) -> Iterator[tuple[str, list[Sample], Sequence[bool]]]:
        """Yield each question as soon as it has its answers: its qid, those answers whose log-probabilities are finite.

        With noise, the second half of the answers is from the disturbed view; the last item says of which answers.
        """
        if self.noise is None:
            for qid, samples in sampler.stream(self.prompts.ask(questions, further), self.sampling, step):
                check_complete(qid, samples, self.sampling)
                yield qid, [sample for sample in samples if is_finite(sample)], ()
            return
        half = replace(self.sampling, samples=self.sampling.samples // 2)
        asked = self.prompts.ask(questions, further, partial(self.noise.view, step=step))
        views = {noisy(question["qid"]): question["qid"] for question in questions.values()}
        done: dict[str, list[Sample]] = {}
        for name, samples in sampler.stream(asked, half, step):
            check_complete(name, samples, half)
            done[name] = [sample for sample in samples if is_finite(sample)]
            qid = views.get(name, name)
            if {qid, noisy(qid)} <= done.keys():
                clean, other = done[qid], done[noisy(qid)]
                yield qid, [*clean, *other], [False] * len(clean) + [True] * len(other)

    def _measure(self, gathered: Sequence[Any], seconds: Mapping[str, float]) -> None:
        """Add to `measured` and `left_out` what all ranks have found."""
        left_out = {qid: count for _, of_rank, *_ in gathered for qid, count in of_rank.items()}
        self.left_out |= left_out
        for name, value in seconds.items():
            self.measured[f"seconds_reward/{name}"] += round(value, 4)
        self.measured["answers_left_out"] += sum(left_out.values())
        self.measured["checks_failed"] += sum(failures for _, _, failures, *_ in gathered)
        cut_off = [count for *_, count, _ in gathered if count is not None]
        if cut_off:
            self.measured["clip_cut_off_share"] += sum(cut_off)
        if self.second_pass:
            self.measured["sufficiency_tokens"] += sum(tokens for *_, tokens in gathered)

    def _experiences(
        self,
        questions: Mapping[int, QuestionRow],
        answers: Mapping[str, list[Sample]],
        responses: Sequence[list[str]],
        scores: Scores,
    ) -> list[Experience]:
        experiences, start = [], 0
        for (row, question), texts in zip(questions.items(), responses, strict=True):
            samples, part = answers[question["qid"]], slice(start, start := start + len(texts))
            experiences.append(
                Experience(
                    row=row,
                    question={name: question[name] for name in ("qid", "problem", "answer", "key_words")},
                    prompt_tokens=len(self.prompts[row].token_ids),
                    token_ids=[array("l", sample.token_ids) for sample in samples],
                    logprobs=[array("f", sample.logprobs) for sample in samples],
                    finish_reasons=[sample.finish_reason for sample in samples],
                    responses=texts,
                    rewards=scores.total[part],
                    components={name: values[part] for name, values in scores.raw.items()},
                    advantages=group_advantages([scores.total[part]], self.advantage)[0],
                    owner=self.place.rank,
                    separate=self._separate(samples, texts, {n: values[part] for n, values in scores.weighted.items()}),
                )
            )
        return experiences

    def _separate(
        self, samples: Sequence[Sample], texts: Sequence[str], weighted: Mapping[str, list[float]]
    ) -> Separate | None:
        """The separate advantages of a group; None if there are none."""
        of_description = self.reward.of_description
        if not self.separate_advantages or len(of_description) in (0, len(weighted)):
            return None
        pairs = zip(samples, texts, strict=True)
        spans = [description_tokens(sample.token_ids, text, self.encoder.decode) for sample, text in pairs]
        return separate(weighted, of_description, self.advantage, spans)


def _without(
    broken: Sequence[bool],
    answers: dict[str, list[Sample]],
    disturbed: dict[str, Sequence[bool]],
    responses: Sequence[list[str]],
    scores: Scores,
) -> tuple[list[list[str]], Scores]:
    """Leave out the answers whose second answer is broken: its reward says nothing of them.

    Args:
        broken: (S,) in the order of the questions.
        answers: by qid; changed in place.
        disturbed: by qid; changed in place.
        responses: decoded texts of each question's answers.
        scores: of the S answers.

    Returns:
        The texts and scores of the others.
    """
    remaining = iter(broken)
    usable = [[not next(remaining) for _ in texts] for texts in responses]
    for qid, kept in zip(list(answers), usable, strict=True):
        answers[qid] = list(compress(answers[qid], kept))
        disturbed[qid] = list(compress(disturbed[qid], kept))
    every = [kept for group in usable for kept in group]
    others = replace(
        scores,
        total=list(compress(scores.total, every)),
        raw={name: list(compress(values, every)) for name, values in scores.raw.items()},
        weighted={name: list(compress(values, every)) for name, values in scores.weighted.items()},
    )
    return [list(compress(texts, kept)) for texts, kept in zip(responses, usable, strict=True)], others
