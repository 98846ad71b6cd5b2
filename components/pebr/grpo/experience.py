"""From questions to experience: sampled answers, their rewards, their advantages.

Ranks divide a training step's questions for sampling, then exchange the results: token ids, log-probabilities and
rewards are small. So every rank knows the whole step, and updates can be divided by length (`pebr.grpo.micro_batches`).
"""

import time
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch.distributed as dist
from torch import Tensor

from pebr.data.images import ImageError, decode
from pebr.data.shards import ShardedDataset
from pebr.errors import InputError
from pebr.grpo.advantages import group_advantages
from pebr.grpo.questions import QuestionRow, further_columns
from pebr.rewards.batch import RewardBatch
from pebr.rewards.stages import Scores, StageReward
from pebr.sampling.contract import Sample, Sampler, SamplingSettings, check_logprobs
from pebr.step.launch import Place
from pebr.vlm.encoding import Encoder, Prompt


class Experience(NamedTuple):
    """A question with its G answers, their rewards and advantages."""

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

    @property
    def teaches(self) -> bool:
        """False if all rewards are equal: then every advantage is 0."""
        return bool(self.advantages.any())

    @property
    def answer_tokens(self) -> int:
        """Tokens of all G answers."""
        return sum(len(ids) for ids in self.token_ids)


@dataclass
class Collector:
    """Samples answers to questions and rewards them."""

    dataset: ShardedDataset
    encoder: Encoder
    sampling: SamplingSettings
    reward: StageReward
    advantage: str  # see `group_advantages`
    place: Place
    # Of the last call of `collect`, on this rank:
    seconds: dict[str, float] = field(default_factory=dict)
    # Seconds per component; of all ranks, failed checks and the share of descriptions that CLIP reads in part.
    measured: dict[str, float] = field(default_factory=dict)
    _prompts: dict[int, Prompt] = field(default_factory=dict)  # by row

    def collect(self, sampler: Sampler, rows: Sequence[int], step: int) -> list[Experience]:
        """Sample and reward G answers per question of a training step. Returns the experience, in the order of `rows`.

        All ranks call this with the same arguments, the rows for all ranks, and get the same experience.

        Raises:
            SampleError: a log-probability of the sampler is not finite.
            RewardError: a component cannot score a sample.
        """
        started = time.perf_counter()
        rank, ranks = self.place.rank, self.place.world_size
        mine = rows[rank::ranks]
        read = {row: self.dataset[row] for row in sorted(mine)}  # neighbours are in one row group of the file
        self._prompts = {row: self._encode(question) for row, question in read.items()}
        groups = sampler.sample(
            [self._prompts[row] for row in mine], [read[row]["qid"] for row in mine], self.sampling, step
        )
        check_logprobs({read[row]["qid"]: samples for row, samples in zip(mine, groups, strict=True)})
        sampled = time.perf_counter()
        experiences, scores = self._rewarded(mine, [read[row] for row in mine], groups)
        self.seconds = {"sampling": sampled - started, "rewards": time.perf_counter() - sampled}
        gathered: list[tuple[list[Experience], int, int | None]] = [([], 0, None)] * ranks
        dist.all_gather_object(gathered, (experiences, scores.failures, scores.cut_off))
        self.measured = {f"seconds_reward/{name}": round(value, 4) for name, value in scores.seconds.items()}
        self.measured["checks_failed"] = sum(failures for _, failures, _ in gathered)
        cut_off = [count for _, _, count in gathered if count is not None]
        if cut_off:
            self.measured["clip_cut_off_share"] = sum(cut_off) / (len(rows) * self.sampling.samples)
        return [gathered[place % ranks][0][place // ranks] for place in range(len(rows))]

    def prompt(self, row: int) -> Prompt:
        """The encoded question of a row. Questions that another rank sampled are encoded here again."""
        return self._prompts[row] if row in self._prompts else self._encode(self.dataset[row])

    def _encode(self, question: QuestionRow) -> Prompt:
        try:
            images = [decode(image["bytes"]) for image in question["images"]]
        except ImageError as error:
            raise InputError(
                f"{self.dataset.directory}: question {question['qid']}: {error}: filter the dataset again"
            ) from error
        return self.encoder.prompt(question["problem"], images)

    def _rewarded(
        self, rows: Sequence[int], questions: Sequence[QuestionRow], groups: Sequence[list[Sample]]
    ) -> tuple[list[Experience], Scores]:
        if not rows:
            return [], Scores([], {}, {}, {}, 0)
        answers = self.sampling.samples
        responses = [self.encoder.decode(sample.token_ids) for group in groups for sample in group]
        repeated = [question for question in questions for _ in range(answers)]
        scores = self.reward.reward(
            RewardBatch(
                qids=[question["qid"] for question in repeated],
                questions=[question["problem"] for question in repeated],
                references=[question["answer"] for question in repeated],
                responses=responses,
                response_tokens=[len(sample.token_ids) for group in groups for sample in group],
                key_words=[question["key_words"] for question in repeated],
                images=[[image["bytes"] for image in question["images"]] for question in repeated],
                extra=further_columns(questions, answers),
            )
        )
        parts = [slice(i * answers, (i + 1) * answers) for i in range(len(rows))]
        advantages = group_advantages([scores.total[part] for part in parts], self.advantage)
        experiences = [
            Experience(
                row=row,
                question={name: question[name] for name in ("qid", "problem", "answer", "key_words")},
                prompt_tokens=len(self._prompts[row].token_ids),
                token_ids=[array("l", sample.token_ids) for sample in group],
                logprobs=[array("f", sample.logprobs) for sample in group],
                finish_reasons=[sample.finish_reason for sample in group],
                responses=responses[part],
                rewards=scores.total[part],
                components={name: values[part] for name, values in scores.raw.items()},
                advantages=advantage,
            )
            for row, question, group, part, advantage in zip(rows, questions, groups, parts, advantages, strict=True)
        ]
        return experiences, scores
