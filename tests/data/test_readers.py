"""The public JSON formats are read row by row, each row with its fault or None."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pebr.data.readers import read_rl, read_rollouts, read_sft
from pebr.errors import InputError

TURNS = [{"role": "user", "content": "<image>Q?"}, {"role": "assistant", "content": "A"}]
ROW = {"qid": 1, "problem": "<image>Q?", "answer": "7", "images": ["a.png"], "key_words": ["dot"]}


def written(tmp_path: Path, rows: Any) -> Path:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows))
    return path


def test_images_are_a_string_or_a_list(tmp_path: Path) -> None:
    rows = [{"messages": TURNS, "images": images} for images in ("a.png", ["a.png"])]
    assert [row.image_paths for row in read_sft(written(tmp_path, rows))] == [["a.png"], ["a.png"]]


def test_numbers_without_quotes_are_read(tmp_path: Path) -> None:
    (read,) = read_rl(written(tmp_path, [ROW | {"qid": 17, "answer": 0.5}]))
    assert (read.row["qid"], read.row["answer"], read.fault) == ("17", "0.5", None)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"qid": None}, "no qid"),
        ({"qid": {"a": 1}}, "no qid"),
        ({"answer": {"a": 1}}, "no answer"),
        ({"answer": ["7", "8"]}, "several answers"),
        ({"problem": None}, "no question"),
        ({"key_words": [None]}, "keywords of a wrong type"),
        ({"key_words": {"a": 1}}, "keywords of a wrong type"),
        ({"images": [""]}, "images of a wrong type"),
    ],
)
def test_a_fault_of_an_rl_row_is_named(tmp_path: Path, change: dict[str, Any], kind: str) -> None:
    (read,) = read_rl(written(tmp_path, [ROW | change]))
    assert read.fault is not None
    assert read.fault.kind == kind
    assert read.source == ROW | change


def test_an_rl_row_that_is_set_aside_takes_no_qid_from_a_good_one(tmp_path: Path) -> None:
    rows = list(read_rl(written(tmp_path, [ROW | {"answer": None}, ROW, ROW])))
    assert [row.fault and row.fault.kind for row in rows] == ["no answer", None, "qid occurs twice"]


@pytest.mark.parametrize(
    ("messages", "kind"),
    [
        ([{"role": "user", "text": "Q"}], "messages of a wrong type"),
        ([{"role": "user", "content": None}], "empty message"),
        ([{"role": 5, "content": "Q"}], "turns out of order"),
        ([TURNS[0]], "turns out of order"),
        ([TURNS[0], "A"], "messages of a wrong type"),
        ({"role": "user"}, "no messages"),
    ],
)
def test_a_fault_of_an_sft_row_is_named(tmp_path: Path, messages: Any, kind: str) -> None:
    (read,) = read_sft(written(tmp_path, [{"messages": messages, "images": "a.png"}]))
    assert read.fault is not None
    assert read.fault.kind == kind


NOTHING_RIGHT = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(-1e9, 1e9) | st.text(),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["messages", "images", "role", "content", "qid", "problem", "answer", "key_words", "x"]), inner
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(rows=st.lists(NOTHING_RIGHT, max_size=5))
def test_every_row_comes_out_whatever_it_is(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    path = written(tmp_path_factory.mktemp("rows"), rows)
    for read in (read_sft, read_rl):
        found = list(read(path))
        assert [row.source for row in found] == rows
        assert all(isinstance(row.row["qid"], str) and row.row["qid"] for row in found)


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(json.dumps([ROW]), encoding="utf-8-sig")
    assert len(list(read_rl(tmp_path / "rows.json"))) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'[{"qid": 1}, {"qid"', "broken JSON after row 1"),
        (b'[{"qid": 1}] [', "broken JSON after row 1"),
        (b'[{"qid": "\xff"}]', "broken JSON after row 0"),
        (b'{"qid": 1}', "give a JSON array"),
        (b"", "give a JSON array"),
        (b'[{"qid": 1}, {"x": ' + b"[" * 100_000, "broken JSON after row 1"),
        (b'[{"qid": ' + b"9" * 5000 + b"}]", "broken JSON after row 0"),
        (b'[{"qid": 1} {"qid": 2}]', "broken JSON after row 1"),
    ],
)
def test_a_file_that_is_broken_is_said_with_the_place(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "rows.json").write_bytes(content)
    with pytest.raises(InputError, match=said) as error:
        list(read_rl(tmp_path / "rows.json"))
    assert "\n" not in str(error.value)


def test_rows_are_read_one_at_a_time(tmp_path: Path) -> None:
    path = written(tmp_path, [{"messages": [TURNS[0], {"role": "assistant", "content": "A" * 10_000}]}] * 2_000)
    assert path.stat().st_size > 20_000_000
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_sft(path)) == 2_000
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_the_authors_rollouts_are_read(tmp_path: Path) -> None:
    lines = [{"response": "r", "ground_truth": "7", "qid": 3, "score": {"accuracy": 1.0}}] * 2
    (tmp_path / "r.jsonl").write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    expected = {"qid": "3", "response": "r", "ground_truth": "7", "accuracy": 1.0}
    assert list(read_rollouts(tmp_path / "r.jsonl")) == [expected, expected]


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"qid": 1}', '{"qid": 1, "response": "", "ground_truth": "", "score": 1}']
)
def test_a_broken_line_of_rollouts_is_said_with_its_number(tmp_path: Path, line: str) -> None:
    (tmp_path / "r.jsonl").write_text("\n" + line)
    with pytest.raises(InputError, match="line 2"):
        list(read_rollouts(tmp_path / "r.jsonl"))


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(NOTHING_RIGHT, max_size=8), indent=st.sampled_from([None, 2]), chunk=st.integers(1, 60))
def test_values_that_are_cut_by_a_chunk_are_read_whole(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], indent: int | None, chunk: int
) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.json"
    path.write_text(json.dumps(rows, indent=indent, ensure_ascii=False), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pebr.data.tables.CHUNK", chunk)
        assert [row.source for row in read_sft(path)] == rows
