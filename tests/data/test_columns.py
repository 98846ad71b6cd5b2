"""Columns of published sets: their names, and what their values mean."""

import base64
import json
import math
from typing import Any

import pytest

from pebr.data.column_names import NAMES, columns_of
from pebr.data.columns import (
    Picture,
    answer_of,
    find,
    options_of_row,
    pictures_of,
    question_of,
    unknown_images,
    with_options,
    with_placeholders,
)
from pebr.data.records import Fault
from pebr.errors import InputError
from pebr.toy.formats import png
from pebr.toy.world import question

PNG = png(question(0, "sft", 0).image)
TEXT = base64.b64encode(PNG).decode()


@pytest.mark.parametrize(
    "value",
    [
        PNG,
        [PNG],
        {"bytes": PNG, "path": None},
        [{"bytes": PNG, "path": ""}],
        {"bytes": TEXT},
        {"base64": TEXT},
        {"url": f"data:image/png;base64,{TEXT}"},
        {"image_url": {"url": f"data:image/png;base64,{TEXT}"}},
        f"data:image/png;base64,{TEXT}",
        TEXT,
        TEXT.rstrip("="),
        "\n".join(TEXT[i : i + 76] for i in range(0, len(TEXT), 76)),
        base64.urlsafe_b64encode(PNG).decode(),
    ],
)
def test_an_image_inside_a_row_is_read(value: Any) -> None:
    (picture,) = pictures_of(value)
    assert isinstance(picture, Picture)
    assert picture.data == PNG


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        ("a.png", ["a.png"]),
        (["a.png", "b.png"], ["a.png", "b.png"]),
        ("['a.png', 'b.png']", ["a.png", "b.png"]),
        (json.dumps(["a.png"]), ["a.png"]),
        ({"path": "a.png"}, ["a.png"]),
        ({"bytes": None, "path": "a.png"}, ["a.png"]),
        ({"file_name": "a.png"}, ["a.png"]),
        ({"url": "http://host/a.png"}, ["http://host/a.png"]),
        (None, []),
        ("", []),
        ([], []),
        (math.nan, []),
    ],
)
def test_paths_are_read(value: Any, paths: list[str]) -> None:
    assert pictures_of(value) == [Picture(path) for path in paths]


@pytest.mark.parametrize("value", [7, [None], [""], {"x": 1}, {"bytes": "%%%"}, {}, [[[7]]], "x" * 5000, True])
def test_any_other_value_is_a_fault_or_no_image(value: Any) -> None:
    found = pictures_of(value)
    assert isinstance(found, Fault) if value else found == []


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"photo": "a.png"}, "photo"),
        ({"photos": ["x/a.JPG"]}, "photos"),
        ({"scan": {"bytes": PNG, "path": None}}, "scan"),
        ({"scan": [{"bytes": PNG}]}, "scan"),
        ({"a": "See a.png here", "b": 7, "c": ["x"]}, ""),
    ],
)
def test_an_image_column_of_another_name_is_noticed(row: dict[str, Any], name: str) -> None:
    assert unknown_images(row) == name


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        ("7", "7"),
        (7, "7"),
        (r"$\boxed{\frac{1}{2}}$", r"\frac{1}{2}"),
        (r"\boxed{1} and then \boxed{{2}}", "{2}"),
        (r"\boxed{open", r"\boxed{open"),
        ("<think>so <answer>no</answer></think><answer> B </answer>", "B"),
        (r"<answer>\boxed{3}</answer>", "3"),
        (["cat"], "cat"),
        (["cat", "cat"], "cat"),
        (["cat", "dog"], ""),
        ({"ground_truth": 4}, "4"),
        (None, ""),
        (math.nan, ""),
        ({}, ""),
    ],
)
def test_the_answer_is_taken_out_of_what_is_around_it(value: Any, answer: str) -> None:
    assert answer_of(value) == answer


@pytest.mark.parametrize(
    ("row", "options"),
    [
        ({"A": "red", "B": "blue", "C": None, "D": math.nan}, {"A": "red", "B": "blue"}),
        ({"A": 1, "B": 2.5}, {"A": "1", "B": "2.5"}),
        ({"options": ["red", "blue"]}, {"A": "red", "B": "blue"}),
        ({"options": ["A. red", "B. blue"]}, {"A": "red", "B": "blue"}),
        ({"options": ["(A) red", "(B) blue"]}, {"A": "red", "B": "blue"}),
        ({"choices": "['red', 'blue']"}, {"A": "red", "B": "blue"}),
        ({"choices": '["red", "blue"]'}, {"A": "red", "B": "blue"}),
        ({"options": {"A": "red", "B": "blue", "C": None}}, {"A": "red", "B": "blue"}),
        ({"options": "A. red\nB. blue"}, {"A": "red", "B": "blue"}),
        ({"options": "(A) red (B) blue"}, {"A": "red", "B": "blue"}),
        ({"options": "A. red B. blue"}, {"A": "red", "B": "blue"}),
        ({"options": ["a) red", "b) blue"]}, {"A": "red", "B": "blue"}),
        ({"options": [{"label": "A", "text": "red"}, {"label": "B", "text": "blue"}]}, {"A": "red", "B": "blue"}),
        ({"choices": {"label": ["A", "B"], "text": ["red", "blue"]}}, {"A": "red", "B": "blue"}),
        ({"options": {"a": "red", "b": "blue"}}, {"A": "red", "B": "blue"}),
        ({"options": ["A. Einstein", "Curie"]}, {"A": "A. Einstein", "B": "Curie"}),
        ({"options": []}, {}),
        ({"A": "a first thing"}, {}),
        ({"options": 7}, {}),
    ],
)
def test_options_are_read(row: dict[str, Any], options: dict[str, str]) -> None:
    assert options_of_row(row, NAMES["options"]) == options


def test_options_are_shown_once() -> None:
    options = {"A": "red", "B": "blue"}
    assert with_options("Which?", options) == "Which?\nOptions:\nA. red\nB. blue"
    for question_text in ("Which?\nA. red\nB. blue", "Which? (A) red (B) blue", "Which?\nA) red\nB) blue"):
        assert with_options(question_text, options) == question_text
    assert with_options("Which?", {"A": "red"}) == "Which?"


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("<image 1> or <image 2>?", "ab"),
        ("<image_2> or <image_1>?", "ba"),
        ("<image1>, <image2>", "ab"),
        ("<IMAGE> and <Image>", "ab"),
        ("<img> <img/>", "ab"),
        ("<|vision_start|><|image_pad|><|vision_end|> <|image|>", "ab"),
    ],
)
def test_placeholders_are_read_however_they_are_written(text: str, order: str) -> None:
    read, pictures = with_placeholders(text, [Picture("a"), Picture("b")])
    assert read.count("<image>") == 2
    assert [picture.path for picture in pictures] == list(order)


@pytest.mark.parametrize("text", ["<image><img>?", "Compare <image 1>, <image 2> and <image 1>.", "Which?"])
def test_other_placeholders_are_left_if_they_do_not_fit_the_images(text: str) -> None:
    assert with_placeholders(text, [Picture("a"), Picture("b")])[0] == text


def test_a_question_may_be_a_list_of_messages() -> None:
    assert question_of([{"role": "system", "content": "s"}, {"role": "user", "content": " Q? "}]) == "Q?"
    assert question_of([{"role": "user", "content": "Q?"}] * 2) == ""
    assert question_of(7) == ""


def test_the_first_column_with_a_value_counts() -> None:
    assert find({"solution": "8", "answer": None}, NAMES["answer"]) == ("solution", "8")
    assert find({"answer": None}, NAMES["answer"]) == ("answer", None)
    assert find({}, NAMES["answer"]) == ("", None)


def test_names_of_columns_are_given_by_a_setting() -> None:
    names = columns_of("question=ask, images=left|right")
    assert names == NAMES | {"question": ("ask",), "images": ("left", "right")}
    for wrong in ("ask=question", "question", "question="):
        with pytest.raises(InputError, match="--columns"):
            columns_of(wrong)
