"""Shows in a minute whether data will do: `python -m pebr.inspect SOURCE`.

Reads the first rows of a source as `filter` does, writes nothing to the source but indexes of its archives, prints what
was found, and writes a page with examples:

    python -m pebr.inspect data/mulberry --model models/base --page mulberry.html
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jinja2

from pebr.data.column_names import columns_of
from pebr.data.images import data_uri, size_of
from pebr.data.sources import Kind, Source, find_sources
from pebr.errors import EXIT_WRONG_INPUT, InputError
from pebr.filter.work import Checked, Tally, check
from pebr.ingest.settings import Settings as IngestSettings
from pebr.ingest.work import work as ingest
from pebr.vlm.admission import prompt_tokens

THUMBNAIL = 180  # pixels
LONGEST_TEXT = 1_500  # characters of an example
EXAMPLES, EXAMPLES_PER_REASON = 12, 2
Measure = Callable[[Checked], tuple[int, int] | None]  # tokens of prompt and answer


@dataclass
class Findings:
    """What was read of a source."""

    source: Source
    kind: Kind
    tally: Tally = field(default_factory=Tally)
    columns: dict[str, Any] = field(default_factory=dict)  # name -> the first value
    filled: Counter[str] = field(default_factory=Counter)  # rows that have the column
    sides: list[int] = field(default_factory=list)  # the shorter side of each image, in pixels
    sizes: list[int] = field(default_factory=list)  # bytes of each image
    prompts: list[int] = field(default_factory=list)  # tokens
    answers: list[int] = field(default_factory=list)  # tokens
    kept: list[Checked] = field(default_factory=list)  # examples
    rejected: dict[str, list[Checked]] = field(default_factory=dict)  # reason -> examples

    def add(self, checked: Checked, measure: Measure) -> None:
        """Take in a row."""
        self.tally.add(checked)
        if isinstance(checked.row.source, dict):
            for name, value in checked.row.source.items():
                self.columns.setdefault(name, value)
                self.filled[name] += value is not None
        if fault := checked.row.fault:
            examples = self.rejected.setdefault(fault.kind, [])
            if len(examples) < EXAMPLES_PER_REASON:
                examples.append(checked)
            return
        for image in checked.images:
            self.sides.append(min(size_of(image["bytes"])))
            self.sizes.append(len(image["bytes"]))
        if tokens := measure(checked):
            self.prompts.append(tokens[0])
            self.answers.append(tokens[1])
        if len(self.kept) < EXAMPLES:
            self.kept.append(checked)

    def facts(self, max_prompt_tokens: int) -> Iterator[tuple[str, str]]:
        """The figures, by name."""
        tally = self.tally
        yield "rows read", str(tally.read)
        yield "rows kept", _share(tally.kept, tally.read)
        for reason, count in tally.rejected.most_common():
            yield f"rejected: {reason}", _share(count, tally.read)
        for change, count in tally.changes.most_common():
            yield f"rows with {change}", _share(count, tally.read)
        for how, count in tally.images.most_common():
            yield f"images found {how}", str(count)
        yield "shorter side of images, pixels", _spread(self.sides)
        yield "image files, KB", _spread([size // 1000 for size in self.sizes])
        if self.prompts:
            too_long = sum(tokens > max_prompt_tokens for tokens in self.prompts)
            yield "prompts, tokens", _spread(self.prompts)
            yield "answers, tokens", _spread(self.answers)
            yield f"prompts over {max_prompt_tokens} tokens", _share(too_long, len(self.prompts))


def inspect(options: argparse.Namespace) -> list[Findings]:
    """Read the first rows of all sources.

    Raises:
        InputError: there are no rows of any kind.
    """
    names = columns_of(options.columns)
    measure = _measure(options.model)
    found: list[Findings] = []
    errors: list[InputError] = []
    kinds: list[Kind] = [options.kind] if options.kind else ["sft", "rl"]
    for kind in kinds:
        try:
            sources = find_sources(Path(options.source), kind, options.image_root, options.files, names)
        except InputError as error:
            errors.append(error)
            continue
        for source in sources:
            limit = min(source.limit or options.rows, options.rows) if options.rows else source.limit
            findings = Findings(source, kind)
            for checked in check(replace(source, limit=limit).rows(kind, names), source, options.min_side):
                findings.add(checked, measure)
            found.append(findings)
    if not found:
        raise errors[0]
    return found


def _measure(model: str) -> Measure:
    """Measures the tokens of a row under a model; nothing without a model."""
    if not model:
        return lambda checked: None
    from pebr.vlm.encoding import Encoder
    from pebr.vlm.loading import load_processor

    encoder = Encoder(load_processor(model))

    def measure(checked: Checked) -> tuple[int, int] | None:
        row, images = checked.row.row, [image["bytes"] for image in checked.images]
        turns = (
            [message["content"] for message in row["messages"]]
            if "messages" in row
            else [row["problem"], row["answer"]]
        )
        tokens = prompt_tokens(turns[-2], images, encoder, history=turns[:-2])
        return (tokens, len(encoder.response_ids(turns[-1]))) if isinstance(tokens, int) else None

    return measure


def page_of(found: Sequence[Findings], title: str, max_prompt_tokens: int) -> str:
    """The page's HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True
    )
    pages = [
        {
            "name": f.source.name,
            "form": f.source.form,
            "kind": f.kind,
            "files": [file.name for file in f.source.files],
            "facts": list(f.facts(max_prompt_tokens)),
            "columns": [{"name": n, "rows": f.filled[n], "example": _short(v)} for n, v in f.columns.items()],
            "examples": [_example(checked) for checked in f.kept],
            "rejected": [
                {"reason": f"{kind}: {checked.row.fault.detail}", "text": _short(checked.row.source)}
                for kind, examples in f.rejected.items()
                for checked in examples
                if checked.row.fault
            ],
        }
        for f in found
    ]
    return environment.get_template("inspect.html.jinja").render(title=title, pages=pages)


def _example(checked: Checked) -> Mapping[str, object]:
    """A kept row for the page: small images and texts."""
    row = checked.row.row
    texts = (
        [message["content"] for message in row["messages"]] if "messages" in row else [row["problem"], row["answer"]]
    )
    return {
        "qid": row["qid"],
        "texts": [text[:LONGEST_TEXT] for text in texts],
        "images": [data_uri(image["bytes"], THUMBNAIL) for image in checked.images],
    }


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=True, default=lambda v: f"{len(v)} bytes" if isinstance(v, bytes) else str(v))
    return text if len(text) <= 300 else f"{text[:300]} ..."


def _share(count: int, total: int) -> str:
    return f"{count} ({count / total:.1%})" if total else str(count)


def _spread(values: Sequence[int]) -> str:
    """Smallest, middle and largest of some numbers."""
    if not values:
        return "none"
    ordered = sorted(values)
    return f"{ordered[0]} to {ordered[-1]}, median {ordered[len(ordered) // 2]}"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pebr.inspect", description="Show whether data will do.")
    parser.add_argument("source", help="A folder, a file, or a source as `ingest` takes it.")
    parser.add_argument("--kind", choices=["sft", "rl"], default="", help="Only rows of this kind.")
    parser.add_argument("--rows", type=int, default=2000, help="Rows to read per source; 0 for all.")
    parser.add_argument("--model", default="", help="Directory of the model whose tokens are counted.")
    parser.add_argument("--max-prompt-tokens", type=int, default=2048, help="As the later steps will have it.")
    parser.add_argument("--page", default="inspect.html", help="HTML file to write.")
    parser.add_argument("--files", default="", help="As for `filter`.")
    parser.add_argument("--columns", default="", help="As for `filter`.")
    parser.add_argument("--image-root", default="", help="As for `filter`.")
    parser.add_argument("--min-side", type=int, default=28, help="As for `filter`.")
    return parser.parse_args(arguments)


def _check(options: argparse.Namespace, page: Path) -> None:
    """Raise an InputError for options that are wrong, before anything is read."""
    if options.rows < 0 or options.max_prompt_tokens < 1 or options.min_side < 1:
        raise InputError("--rows: give 0 for all, or more; --max-prompt-tokens and --min-side: give at least 1")
    if not page.parent.is_dir() or page.is_dir():
        raise InputError(f"--page {page}: give a file in a folder that is there")


def main(arguments: Sequence[str] | None = None) -> int:
    """Inspect, print, write the page; returns the exit code."""
    options = _options(arguments)
    title = options.source
    page_file = Path(options.page)
    try:
        _check(options, page_file)
        with tempfile.TemporaryDirectory() as folder:
            if "://" in options.source or (not Path(options.source).exists() and "," in options.source):
                ingest(IngestSettings(source=options.source, output=f"{folder}/brought"))
                options.source = f"{folder}/brought"
            found = inspect(options)
            for findings in found:
                print(f"{findings.source.name}: {findings.kind} rows, {findings.source.form}")
                print(f"  columns: {', '.join(findings.columns)}")
                for name, value in findings.facts(options.max_prompt_tokens):
                    print(f"  {name}: {value}")
            page = page_of(found, title, options.max_prompt_tokens)
        page_file.write_text(page, encoding="utf-8")
        print(f"examples: {page_file}")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_WRONG_INPUT
    if not any(findings.tally.kept for findings in found):
        print("error: no row can be used: fix the dataset, or name its columns with --columns", file=sys.stderr)
        return EXIT_WRONG_INPUT
    return 0


if __name__ == "__main__":
    sys.exit(main())
