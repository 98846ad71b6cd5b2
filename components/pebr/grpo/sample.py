"""A few questions with their best and worst answers, for the live report."""

from collections.abc import Sequence

from pebr.data.images import data_uri
from pebr.grpo.experience import Experience
from pebr.grpo.questions import QuestionRow
from pebr.training.live import SampledAnswer, SampledQuestion

QUESTIONS = 4
SIDE = 320  # px


def sample_of(dataset: Sequence[QuestionRow], experiences: Sequence[Experience]) -> list[SampledQuestion]:
    """The first questions of a training step or a validation, each with its image and its best and worst answer."""
    return [_question(dataset, experience) for experience in experiences[:QUESTIONS] if experience.rewards]


def _question(dataset: Sequence[QuestionRow], experience: Experience) -> SampledQuestion:
    images = dataset[experience.row]["images"]
    order = sorted(range(len(experience.rewards)), key=lambda place: -experience.rewards[place])
    return SampledQuestion(
        question=str(experience.question["problem"]),
        reference=str(experience.question["answer"]),
        image=data_uri(images[0]["bytes"], SIDE) if images else "",
        answers=[_answer(experience, place) for place in dict.fromkeys((order[0], order[-1]))],
    )


def _answer(experience: Experience, place: int) -> SampledAnswer:
    components = {name: values[place] for name, values in experience.components.items()}
    return SampledAnswer(text=experience.responses[place], reward=experience.rewards[place], components=components)
