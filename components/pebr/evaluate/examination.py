"""Asks a model the rows of a benchmark, scores the answers by rule and writes them.

Besides accuracy, a benchmark gets the perception measures (format, and if the data allow it the CLIP and keyword
rewards; for a table that tells what its images show, those of `pebr.evaluate.described`) and the share of responses
without a final answer: a low accuracy can come from wrong answers or from missing ones, and this share distinguishes
the two. Answers are read leniently (`pebr.vlm.reading`); the share of those that the
strict reading of training does not find so is reported too. A row whose prompt is too long for the model counts as
wrong. A row that cannot be asked at all, because the row itself is broken, is rejected and does not count.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TextIO

from pebr.answers.check import AnswerChecker
from pebr.benchmarks.rules import question_text
from pebr.benchmarks.scoring import correct, key_words
from pebr.data.benchmark import BenchmarkRow
from pebr.data.readers import Fault
from pebr.data.records import AnswerRow
from pebr.data.shards import ShardWriter
from pebr.errors import InputError
from pebr.evaluate import described
from pebr.evaluate.judge import Judge
from pebr.evaluate.questions import write_questions
from pebr.evaluate.shards import Answered, Outcome
from pebr.evaluate.summary import Scores, mean, missing_columns, summarise
from pebr.rewards.batch import RewardBatch
from pebr.rewards.clip import ClipScorer
from pebr.rewards.settings import RewardSettings
from pebr.rewards.stages import Tools, build_reward
from pebr.sampling.contract import Sample
from pebr.sampling.sharded import Asked, Settled
from pebr.telemetry import metrics
from pebr.vlm.admission import TOO_LONG, encode
from pebr.vlm.encoding import Encoder
from pebr.vlm.reading import read_answer

log = logging.getLogger("pebr")

MEASURES = ("format", "clip", "keyword", "no_answer", "read_leniently", "cut_off", "response_tokens", *described.NAMES)


class Examiner:
    """The encoder and the scorers that all benchmarks share.

    Args:
        max_prompt_tokens: questions with a longer prompt are not asked.
        encoder: of the model.
        checker: of answers.
        clip: scores the image descriptions; None for no CLIP measure.
        judge: checks the answers that the rules call wrong; None for no judge.
    """

    def __init__(
        self,
        max_prompt_tokens: int,
        encoder: Encoder,
        checker: AnswerChecker,
        clip: ClipScorer | None,
        judge: Judge | None,
    ) -> None:
        self.max_prompt_tokens, self.encoder, self.checker = max_prompt_tokens, encoder, checker
        self.has_clip, self.judge = clip is not None, judge
        # Evaluation reports the components of the perception reward; their weights do not matter.
        settings = RewardSettings(stage="perception", clip_weight=float(self.has_clip), length_weight=0.0)
        self.reward = build_reward(settings, Tools(checker, encoder.count_tokens, clip))

    def read(self, rows: Sequence[BenchmarkRow], place: int) -> Asked[BenchmarkRow]:
        """The row at a place of the benchmark, checked and encoded."""
        row = rows[place]
        return Asked(
            row.index, row, row.fault or encode(question_text(row), row.images, self.encoder, self.max_prompt_tokens)
        )

    def score(self, name: str, settled: Sequence[Settled[BenchmarkRow]]) -> list[Outcome]:
        """The scored answers of some rows of a benchmark, in order, or the fault of a row."""
        asked = [(row, outcome) for row, outcome in settled if not isinstance(outcome, Fault)]
        scored = iter(self._score(name, asked))
        return [outcome if isinstance(outcome, Fault) else next(scored) for _, outcome in settled]

    def _score(self, name: str, asked: Sequence[tuple[BenchmarkRow, list[Sample]]]) -> Iterator[list[Answered]]:
        """The scored answers of each row, (rows, samples)."""
        pairs = [(row, sample) for row, samples in asked for sample in samples]
        if not pairs:
            return
        batch = RewardBatch(
            qids=[row.index for row, _ in pairs],
            questions=[row.question for row, _ in pairs],
            references=[row.answer for row, _ in pairs],
            responses=[self.encoder.decode(sample.token_ids) for _, sample in pairs],
            response_tokens=[len(sample.token_ids) for _, sample in pairs],
            key_words=[key_words(row) for row, _ in pairs],
            images=[row.images for row, _ in pairs],
            extra={},
        )
        raw = self.reward.reward(batch).raw
        finals = [read_answer(response) for response in batch.responses]
        given = [final.text for final in finals]
        verdicts = self._correct(name, [row for row, _ in pairs], given)
        scored = [
            Answered(
                response=batch.responses[i],
                finish_reason=sample.finish_reason,
                response_tokens=len(sample.token_ids),
                given=given[i],
                correct=verdicts[i],
                measures={
                    "format": raw["format"][i],
                    "clip": raw["clip"][i] if self.has_clip and row.images else None,
                    "keyword": raw["keyword"][i] if batch.key_words[i] else None,
                    "no_answer": float(not given[i]),
                    "read_leniently": float(not finals[i].strict),
                    "cut_off": float(sample.finish_reason == "length"),
                    "response_tokens": float(len(sample.token_ids)),
                    **described.described(row, batch.parsed[i].description),
                },
            )
            for i, (row, sample) in enumerate(pairs)
        ]
        remaining = iter(scored)
        for _, samples in asked:
            yield [next(remaining) for _ in samples]

    def _correct(self, name: str, rows: Sequence[BenchmarkRow], given: Sequence[str]) -> list[float]:
        """1.0 for each correct answer, 0.0 for each other one."""
        found = correct(name, rows, given, self.checker)
        if self.judge:
            wrong = [i for i, right in enumerate(found) if not right and given[i]]
            judged = self.judge.agrees([(rows[i].question, rows[i].answer, given[i]) for i in wrong])
            for i, right in zip(wrong, judged, strict=True):
                found[i] = float(right)
        return found


def report(
    name: str, rows: Sequence[BenchmarkRow], outcomes: Sequence[Outcome], writer: ShardWriter, questions: TextIO
) -> Scores:
    """Write the answers to all rows of a benchmark, and the scores of each question; returns the benchmark's scores.

    Raises:
        InputError: no row could be asked.
    """
    if missing := missing_columns(name, rows):
        log.warning("%s: no column %s, which its rule reads: the scores differ from published ones", name, missing[0])
    faults = {place: outcome for place, outcome in enumerate(outcomes) if isinstance(outcome, Fault)}
    if len(faults) == len(rows):
        kind, detail = next(iter(faults.values()))
        raise InputError(
            f"{name}: not one of {len(rows)} rows can be asked; {kind} ({detail}): fix the table, or raise"
            " --max-prompt-tokens"
        )
    counted: list[BenchmarkRow] = []
    of_row: list[list[Answered]] = []  # of the rows that count; [] for one that is too long, which is wrong
    for row, outcome in zip(rows, outcomes, strict=True):
        if isinstance(outcome, Fault):
            writer.reject(
                {"qid": row.index, "question": row.question}, f"{outcome.kind}: {outcome.detail}", outcome.kind
            )
        else:
            for answered in outcome:
                writer.write(_record(name, row, answered))
        if not isinstance(outcome, Fault) or outcome.kind == TOO_LONG:
            counted.append(row)
            of_row.append([] if isinstance(outcome, Fault) else outcome)
    measures = {m: [mean([answered.measures.get(m) for answered in answers]) for answers in of_row] for m in MEASURES}
    shares = [mean([answered.correct for answered in answers]) or 0.0 for answers in of_row]
    write_questions(questions, name, counted, {"accuracy": shares, **measures})
    scores = summarise(name, counted, shares, measures)
    metrics.record("pebr_benchmark_accuracy_ratio", scores["accuracy"], name)
    kinds = Counter(fault.kind for fault in faults.values())
    scores["too_long"] = kinds.pop(TOO_LONG, 0) / len(counted)
    scores["set_aside"] = dict(sorted(kinds.items()))
    scores["accuracy_all_rows"] = scores["accuracy"] * len(counted) / len(rows)  # rows that are not asked are wrong
    log.info("%s: accuracy %.3f over %d rows, %d rejected", name, scores["accuracy"], len(counted), kinds.total())
    if kinds:
        reasons = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        every = f"with them as wrong it is {scores['accuracy_all_rows']:.3f}"
        log.warning(
            "%s: %d of %d rows are not in the accuracy (%s); %s", name, kinds.total(), len(rows), reasons, every
        )
    return scores


def _record(name: str, row: BenchmarkRow, answered: Answered) -> AnswerRow:
    """An answer as a row of the answers dataset."""
    return {
        "benchmark": name,
        "qid": row.index,
        "question": row.question,
        "answer": row.answer,
        "category": row.category,
        "response": answered.response,
        "given": answered.given,
        "finish_reason": answered.finish_reason,
        "response_tokens": answered.response_tokens,
        "correct": answered.correct,
        "format": answered.measures["format"],
        "clip": answered.measures["clip"],
        "keyword": answered.measures["keyword"],
        "images": [{"bytes": data, "path": ""} for data in row.images],
    }
