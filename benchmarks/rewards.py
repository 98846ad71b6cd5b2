"""Speed of the CLIP reward and of the answer check against what they replace, in alternation, on this machine's CPU.

    make bench NAME=rewards

clip:   `pebr.rewards.clip` against scoring one answer at a time, with the image encoded again for each answer, as the
        released code does. Model: ViT-B/32 of open_clip with random weights. Data: 8 different answers per question,
        descriptions of the toy data, images of 448 x 336 px. Goal: 8 times faster. Each round has 64 of the 560
        questions of a training step, enough for full batches. The scores of both sides must agree.
answer: `pebr.answers.check` with two workers against `math_verify`, called in one process as its documentation shows.
        No pair occurs in two rounds; `math_verify` gets the first quarter of the pairs of each round. Goals: 2,000
        checks per second, and at least the speed of `math_verify`. The share of equal verdicts is reported:
        `math_verify` does not know options, units and words.

The printed ratio is the clip ratio, or less if another goal is missed by more.
"""

import io
import json
import random
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import TypedDict

import torch
from PIL import Image

import pebr.vlm.torchvision_operators  # noqa: F401 - makes torchvision importable
from benchmarks.result import finish, seconds
from pebr.answers.check import AnswerChecker
from pebr.answers.dates import read_moment
from pebr.answers.equality import compare_values
from pebr.answers.options import read_pick
from pebr.answers.plain_text import plain
from pebr.answers.quantities import read_quantity
from pebr.answers.sentences import shorter_readings, undressed
from pebr.answers.units import read_unit
from pebr.answers.wording import answer_words
from pebr.rewards.clip import ClipScorer
from pebr.rewards.clip_models import FeatureModel, load_feature_model
from pebr.toy.scenes import bar_scene, shape_scene

CLIP_GOAL = 8.0
CHECKS_GOAL = 2000.0
PLAIN_GOAL = 1.0
ROUNDS = 3
QUESTIONS, ANSWERS = 64, 8  # per round; answers per question
CHECKS = 4000  # per round


def vit_b_32(directory: Path) -> FeatureModel:
    """A ViT-B/32 with random weights, loaded from an open_clip directory like any other model."""
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-32")
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, directory / "open_clip_model.safetensors")
    config = {"model_cfg": open_clip.get_model_config("ViT-B-32"), "preprocess_cfg": model.visual.preprocess_cfg}
    (directory / "open_clip_config.json").write_text(json.dumps(config))
    return load_feature_model(str(directory))


def step_of_answers(draw: random.Random) -> tuple[list[bytes], list[str]]:
    """Images and descriptions: QUESTIONS questions with ANSWERS different descriptions each."""
    images, texts = [], []
    for _ in range(QUESTIONS):
        noise = Image.effect_noise((448, 336), draw.randint(20, 120)).convert("RGB")
        file = io.BytesIO()
        noise.save(file, "JPEG")
        images += [file.getvalue()] * ANSWERS
        make = draw.choice((shape_scene, bar_scene))
        different: set[str] = set()
        while len(different) < ANSWERS:
            different.add(make(draw).description)
        texts += sorted(different)
    return images, texts


def batched(model: FeatureModel, images: Sequence[bytes], texts: Sequence[str]) -> list[float]:
    """As a training step does, with an empty image cache."""
    return ClipScorer(model).score(images, texts)


def one_at_a_time(model: FeatureModel, images: Sequence[bytes], texts: Sequence[str]) -> list[float]:
    """Like the released code: for each answer decode, preprocess and encode its image, pad and encode its text."""
    scores = []
    for image, text in zip(images, texts, strict=True):
        with torch.inference_mode():
            decoded = Image.open(io.BytesIO(image)).convert("RGB")
            image_features = model.encode_images(model.preprocess(decoded)[None])[0]
            text_features = model.model.encode_text(model.tokenizer([text]))[0]  # type: ignore[attr-defined]
            scores.append(float(image_features @ text_features / image_features.norm() / text_features.norm()))
    return scores


class ClipResult(TypedDict):
    """The clip part of the result file."""

    ratio: float
    seconds_a_question: dict[str, float]
    questions: int
    answers: int
    text_tokens: float


def measure_clip() -> ClipResult:
    """Measure the seconds per question of both sides, in alternation."""
    times: dict[str, list[float]] = {"ours": [], "one_at_a_time": []}
    with tempfile.TemporaryDirectory() as directory:
        model = vit_b_32(Path(directory))
        draw = random.Random(0)
        ClipScorer(model).score(*step_of_answers(draw))  # warm up
        tokens = []
        for _ in range(ROUNDS):
            images, texts = step_of_answers(draw)
            taken, ours = seconds(partial(batched, model, images, texts))
            times["ours"].append(taken)
            taken, plainly = seconds(partial(one_at_a_time, model, images, texts))
            times["one_at_a_time"].append(taken)
            if max(abs(a - b) for a, b in zip(ours, plainly, strict=True)) > 1e-5:
                raise AssertionError("the cosines of the two sides differ by more than 1e-5")
            tokens += [int((model.tokenizer([text]) != 0).sum()) for text in texts]  # type: ignore[attr-defined]
    ratio = median(b / a for a, b in zip(times["ours"], times["one_at_a_time"], strict=True))
    per_question = {name: round(median(values) / QUESTIONS, 4) for name, values in times.items()}
    return {
        "ratio": ratio,
        "seconds_a_question": per_question,
        "questions": ROUNDS * QUESTIONS,
        "answers": ANSWERS,
        "text_tokens": round(mean(tokens), 1),
    }


def ordinary_pairs(draw: random.Random) -> list[tuple[str, str]]:
    """Typical answers of models with references, over half right: numbers, options, units, words, some expressions."""

    def number() -> tuple[str, str]:
        value = draw.choice([draw.randint(0, 99), draw.randint(0, 99_999), round(draw.uniform(0, 100), 2)])
        dressed = draw.choice(
            ["{}", "{}.", "**{}**", "$\\boxed{{{}}}$", "The answer is {}.", "{} apples", "x = {}", "{} cm"]
        )
        return dressed.format(value), str(value)

    def fraction() -> tuple[str, str]:
        above, below = draw.randint(1, 40), draw.randint(2, 40)
        return draw.choice(["\\frac{{{}}}{{{}}}", "{}/{}", "${}/{}$"]).format(above, below), f"{above}/{below}"

    def percent() -> tuple[str, str]:
        value = draw.randint(1, 999) / 10
        return draw.choice([f"{value}%", f"{value} percent", f"{value}\\%"]), f"{value}%"

    def option() -> tuple[str, str]:
        letter = draw.choice("ABCD")
        return draw.choice(["{}", "({})", "{}.", "{}. 12", "**{}**", "Option {}"]).format(letter), letter

    def words() -> tuple[str, str]:
        colour, thing = draw.choice(["red", "blue", "green", "black"]), draw.choice(["bar", "circle", "line", "car"])
        return f"{draw.choice(['The ', 'the ', ''])}{colour} {thing} {draw.randint(1, 999)}.", f"{colour} {thing} 7"

    def expression() -> tuple[str, str]:
        a, b = draw.randint(2, 99), draw.randint(2, 99)
        return draw.choice(
            [(f"{a}\\sqrt{{{b}}}", f"\\sqrt{{{a * a * b}}}"), (f"{a}\\pi", f"{a}π cm"), (f"{a}x+{b}", f"{b}+{a}x"),
             (f"({a}, {b})", f"({a},{b})"), (f"\\frac{{{a}\\pi}}{{{b}}}", f"{a}\\pi/{b}")]
        )  # fmt: skip

    kinds = [number] * 8 + [option] * 4 + [words] * 3 + [fraction] * 2 + [percent] * 2 + [expression]
    pairs = []
    for _ in range(CHECKS):
        given, reference = draw.choice(kinds)()
        if draw.random() < 0.4:
            reference = draw.choice(kinds)()[1]
        pairs.append((given, reference))
    return pairs


def plain_math_verify(pairs: Sequence[tuple[str, str]]) -> list[bool]:
    """The verdict of `math_verify` on each pair, called as its documentation shows."""
    from math_verify import parse, verify

    return [verify(parse(reference), parse(given)) for given, reference in pairs]


def clear_caches() -> None:
    """Clear the caches of the answer check, so that a second run on the same pairs is as slow as the first."""
    cached = (compare_values, read_quantity, answer_words, plain, read_pick, read_unit)
    for function in (*cached, read_moment, shorter_readings, undressed):
        function.cache_clear()


class AnswerResult(TypedDict):
    """The answer part of the result file."""

    checks_a_second: dict[str, int]
    ratio_to_math_verify: float
    verdicts: dict[str, float]


def measure_answers() -> AnswerResult:
    """Measure the checks per second of both sides, in alternation, on the same pairs, and compare their verdicts."""
    rates: dict[str, list[float]] = {"ours": [], "ours_one_worker": [], "math_verify": []}
    verdicts: list[tuple[bool, bool]] = []  # ours, math_verify's
    draw = random.Random(0)
    with AnswerChecker(workers=2) as two, AnswerChecker(workers=1) as one:
        for checker in (two, one):  # warm-up: the processes start
            checker.check(["x+1", "2x+1"] * 20, ["1+x", "1+2x"] * 20)
        plain_math_verify(ordinary_pairs(draw)[:200])
        for _ in range(ROUNDS):
            pairs = ordinary_pairs(draw)
            given, references = zip(*pairs, strict=True)
            for name, check in (("ours", two.check), ("ours_one_worker", one.check)):
                clear_caches()
                taken, ours = seconds(partial(check, given, references))
                rates[name].append(len(pairs) / taken)
            taken, plainly = seconds(partial(plain_math_verify, pairs[: CHECKS // 4]))
            rates["math_verify"].append(len(plainly) / taken)
            verdicts += zip(ours, plainly, strict=False)
    return {
        "checks_a_second": {name: round(median(values)) for name, values in rates.items()},
        "ratio_to_math_verify": median(a / b for a, b in zip(rates["ours"], rates["math_verify"], strict=True)),
        "verdicts": {
            "pairs": len(verdicts),
            "agree": round(mean(a == b for a, b in verdicts), 3),
            "right_to_ours_alone": round(mean(a and not b for a, b in verdicts), 3),
            "right_to_math_verify_alone": round(mean(b and not a for a, b in verdicts), 3),
        },
    }


def main() -> None:
    """Measure and report."""
    answers = measure_answers()
    rate, ratio_of_answers = answers["checks_a_second"]["ours"], answers["ratio_to_math_verify"]
    print(f"answer: {rate} checks per second (goal {CHECKS_GOAL:g})")
    print(f"answer: {ratio_of_answers:.1f} times the speed of math_verify (goal {PLAIN_GOAL:g})")
    clip = measure_clip()
    print(f"clip: {clip['ratio']:.1f} times the speed of one at a time (goal {CLIP_GOAL:g})")
    ratio = CLIP_GOAL * min(clip["ratio"] / CLIP_GOAL, rate / CHECKS_GOAL, ratio_of_answers / PLAIN_GOAL)
    finish("rewards", ratio, CLIP_GOAL, {"clip": clip, "answer": answers})


if __name__ == "__main__":
    main()
