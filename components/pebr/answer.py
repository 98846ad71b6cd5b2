"""Asks a model one question on the command line, and shows the sections of its answer apart.

    python -m pebr.answer --model models/published --image chart.png "Which bar is the tallest?"

The question is asked as in training: with the model's own prompt, and with images at the resolution of training.
Several images are given by several `--image`; their places in the question are marked by `<image>`, else they come
first.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import torch
from PIL import Image

from pebr.data.images import ImageError, decode
from pebr.errors import EXIT_WRONG_INPUT, InputError
from pebr.sampling.contract import SamplingSettings
from pebr.sampling.settings import SamplerSettings
from pebr.sampling.start import start_for
from pebr.vlm.encoding import Encoder
from pebr.vlm.loading import check_model, load_processor
from pebr.vlm.prompt import PromptError
from pebr.vlm.response import Response, parse

DEFAULTS = SamplerSettings()  # of training: image sizes, lengths


def answer(settings: SamplerSettings, model: str, question: str, images: Sequence[Image.Image], seed: int) -> str:
    """The model's answer to a question, as text.

    Raises:
        InputError: the model cannot be loaded, or the question cannot be asked.
    """
    check_model(model)
    encoder = Encoder(load_processor(model, settings.min_pixels, settings.max_pixels))
    try:
        prompt = encoder.prompt(question, images)
    except PromptError as error:
        raise InputError(f"question: {error}") from error
    if len(prompt.token_ids) > settings.max_prompt_tokens:
        told = f"{len(prompt.token_ids)} tokens with its images, {settings.max_prompt_tokens} are allowed"
        raise InputError(f"question: {told}: give --max-prompt-tokens, or --max-pixels")
    with closing(start_for(settings, model, encoder)) as sampler:
        ((sample,),) = sampler.sample([prompt], ["question"], SamplingSettings.of(settings, seed), 0)
    return encoder.decode(sample.token_ids)


def sections(response: Response) -> Iterator[tuple[str, str]]:
    """The title and the text of each section that a response has."""
    found = [("Image description", response.description), ("Rationales", response.rationales)]
    found += [(f"Step {number}", text) for number, text in enumerate(response.steps, start=1)]
    found += [("Answer", response.answer)]
    return ((title, text) for title, text in found if text)


def shown(text: str) -> str:
    """An answer for a reader: its sections under their titles; text without any section as it is."""
    parts = [f"{title}\n{_indented(body)}" for title, body in sections(parse(text))]
    return "\n\n".join(parts) or text.strip()


def _indented(text: str) -> str:
    return "\n".join(f"  {line}".rstrip() for line in text.splitlines())


def _read(path: str) -> Image.Image:
    try:
        return decode(Path(path).read_bytes())
    except (OSError, ImageError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"--image {path}: {reason}: give an image file") from error


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pebr.answer", description="Ask a model one question.")
    add = parser.add_argument
    add("question")
    add("--model", required=True, help="Hugging Face directory of the model.")
    add("--image", action="append", default=[], help="Image file; may be repeated.")
    add("--sampling", choices=["transformers", "vllm"], default="transformers", help="Engine (%(default)s).")
    add("--dtype", choices=["bf16", "fp32"], default="", help="Number format (bf16 on a GPU, else fp32).")
    add("--temperature", type=float, default=0.0, help="0 takes the most likely token (%(default)s).")
    add("--seed", type=int, default=0, help="Of the sampled tokens, if the temperature is not 0.")
    for name in ("max_prompt_tokens", "max_response_tokens", "min_pixels", "max_pixels"):
        flag, default = "--" + name.replace("_", "-"), getattr(DEFAULTS, name)
        add(flag, type=int, default=default, help="As in training (%(default)s).")
    add("--json", action="store_true", help="Print one JSON object: sections, problems of the format, and the text.")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask and print; returns the exit code."""
    options = _options(arguments)
    try:
        settings = SamplerSettings(
            sampling=options.sampling,
            dtype=options.dtype or ("bf16" if torch.cuda.is_available() else "fp32"),
            samples=1,
            temperature=options.temperature,
            max_prompt_tokens=options.max_prompt_tokens,
            max_response_tokens=options.max_response_tokens,
            min_pixels=options.min_pixels,
            max_pixels=options.max_pixels,
        )
        images = [_read(path) for path in options.image]
        text = answer(settings, options.model, options.question, images, options.seed)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_WRONG_INPUT
    response = parse(text)
    if options.json:
        print(json.dumps({"sections": dict(sections(response)), "problems": response.problems, "text": text}))
        return 0
    print(shown(text))
    if response.problems:
        print(f"\nnot in the format of training: {', '.join(response.problems)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
