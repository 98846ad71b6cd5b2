"""Several sources, recognised files, images in odd forms, and what is said about them."""

import base64
import json
import logging
import unicodedata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pebr.data.shards import iter_rows, read_manifest
from pebr.errors import InputError
from pebr.filter.settings import Settings
from pebr.filter.work import work
from tests.data.archiving import write_archive
from tests.filter.layouts import ITEMS, geometry, mulberry, pebr_rl, pebr_sft
from tests.filter.test_work import ANSWER, image_bytes, rl_row, sft_row


def filtered(source: Path, kind: str = "sft", **settings: Any) -> tuple[list[dict[str, Any]], Any]:
    output = source.with_name(f"{source.name}.out")
    work(Settings(source=str(source), output=str(output), kind=kind, **settings))
    return list(iter_rows(output)), read_manifest(output)


def written(folder: Path, name: str, rows: Any) -> Path:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "images" / "good.png").write_bytes(image_bytes())
    (folder / name).write_text(json.dumps(rows))
    return folder


def test_all_files_of_the_kind_are_read_and_the_others_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = tmp_path / "source"
    for write in (mulberry, pebr_sft, pebr_rl):
        write(source, ITEMS)
    (source / "dataset_infos.json").write_text('{"license": "mit"}')
    (source / "README.md").write_text("x")
    with caplog.at_level(logging.WARNING, "pebr"):
        kept, manifest = filtered(source)
    assert {row["source"] for row in kept} == {"mulberry_sft", "pebr_sft"}
    assert len({row["qid"] for row in kept}) == len(kept) == 16
    assert manifest.extra["sources"]["pebr_sft"]["duplicates"] == 8
    assert "not read as sft rows: dataset_infos.json, pebr_grpo_dataset.json" in caplog.text
    kept, _ = filtered(source, "rl")
    assert {row["source"] for row in kept} == {"pebr_grpo_dataset"}
    assert [row["qid"] for row in kept] == [str(n) for n in range(8)]


def test_rows_of_another_source_are_found_by_question_and_image(tmp_path: Path) -> None:
    """An image counts by its content, whatever its name or place."""
    source = tmp_path / "source"
    mulberry(source, ITEMS)
    pebr_sft(source, ITEMS[:3])
    kept, manifest = filtered(source, duplicates="reject")
    assert manifest.rejected == {"row of another source": 3}
    assert len(kept) == 8
    again = written(tmp_path / "again", "a.json", [sft_row()] * 3)
    assert len(filtered(again, duplicates="reject")[0]) == 3


def test_test_data_is_left_out_if_there_is_training_data(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    geometry(tmp_path / "source", ITEMS)
    with caplog.at_level(logging.WARNING, "pebr"):
        kept, _ = filtered(tmp_path / "source", "rl")
    assert len(kept) == 8
    assert {row["source"] for row in kept} == {"data/train"}
    assert "data/test-00000-of-00001.parquet" in caplog.text
    kept, _ = filtered(tmp_path / "source", "rl", files="data/test*")
    assert len(kept) == 3


def test_a_source_may_be_a_file_or_an_archive(tmp_path: Path) -> None:
    source = written(tmp_path / "source", "a.json", [sft_row()])
    written(source, "b.json", [sft_row()] * 2)
    assert len(filtered(source / "b.json")[0]) == 2
    members = {"set/rows.jsonl": json.dumps(sft_row("img/1.png")).encode() + b"\n", "set/img/1.png": image_bytes()}
    (tmp_path / "whole").mkdir()
    write_archive(tmp_path / "whole" / "set.tar.gz", members)
    assert len(filtered(tmp_path / "whole" / "set.tar.gz")[0]) == 1
    assert len(filtered(tmp_path / "whole")[0]) == 1


def test_the_other_kind_of_rows_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds rl rows: give --kind rl"):
        filtered(written(tmp_path / "source", "a.json", [rl_row()]))
    with pytest.raises(InputError, match="no file of rows x"):
        filtered(tmp_path / "source", files="x*")
    written(tmp_path / "two", "a.json", [{"x": 1}])
    with pytest.raises(InputError, match=r"several tables \(a.json, b.json\), none of sft rows: give --files"):
        filtered(written(tmp_path / "two", "b.json", [{"x": 1}]))


TEXT = base64.b64encode(image_bytes()).decode()


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        ({"image": "images/good.png"}, None),
        ({"image_path": "images/good.png"}, None),
        ({"images": [], "image": {"path": "images/good.png"}}, None),
        ({"image": {"bytes": TEXT}}, None),
        ({"image": TEXT}, None),
        ({"image": f"data:image/png;base64,{TEXT}"}, None),
        ({"images": "['images/good.png']"}, None),
        ({"image": "https://host/good.png"}, "image is a URL"),
        ({"image": {"url": "https://host/good.png"}}, "image is a URL"),
        ({"image": base64.b64encode(b"\x89PNG" + bytes(90)).decode()}, "image unreadable"),
        ({"photo": "images/good.png"}, "image column not known"),
        ({}, "placeholders and images differ"),
    ],
)
def test_an_image_is_read_or_its_row_set_aside_with_the_reason(
    tmp_path: Path, images: dict[str, Any], reason: str | None
) -> None:
    rows = []
    for qid, row in enumerate((rl_row(), rl_row())):
        del row["images"]
        rows.append(row | {"qid": qid} | (images if qid else {"images": "images/good.png"}))
    kept, manifest = filtered(written(tmp_path / "source", "a.json", rows), "rl")
    assert manifest.rejected == ({reason: 1} if reason else {})
    assert all(len(row["images"]) == 1 for row in kept)


def test_names_of_columns_can_be_given(tmp_path: Path) -> None:
    rows = [{"ask": "What?", "label": "7", "left": None, "right": "images/good.png", "nr": "a"}]
    source = written(tmp_path / "source", "a.json", rows)
    kept, _ = filtered(source, "rl", columns="question=ask,answer=label,images=left|right,qid=nr")
    assert [(row["qid"], row["problem"], row["answer"], len(row["images"])) for row in kept] == [("a", "What?", "7", 1)]
    with pytest.raises(InputError, match="--columns"):
        Settings(source="a", output="b", columns="x=y")


def test_options_in_columns_become_options(tmp_path: Path) -> None:
    row = rl_row(A="red", B="blue", answer="B")
    (kept,), manifest = filtered(written(tmp_path / "source", "a.json", [row]), "rl")
    assert kept["problem"] == "<image>How many?\nOptions:\nA. red\nB. blue"
    assert json.loads(kept["extra"])["options"] == {"A": "red", "B": "blue"}
    assert manifest.extra["sources"]["a"]["changes"] == {"options added": 1}


def test_images_in_options_are_placed(tmp_path: Path) -> None:
    row = rl_row(problem="Which is red?", options=["<image 1>", "<image 2>"], images=["images/good.png"] * 2)
    (kept,), _ = filtered(written(tmp_path / "source", "a.json", [row]), "rl")
    assert kept["problem"] == "Which is red?\nOptions:\nA. <image>\nB. <image>"


def test_an_id_of_another_name_need_not_be_unique(tmp_path: Path) -> None:
    rows = [{k: v for k, v in rl_row().items() if k != "qid"} | {"id": "x"}] * 2
    kept, _ = filtered(written(tmp_path / "source", "a.json", rows), "rl")
    assert [row["qid"] for row in kept] == ["x", "x-00000001"]


def test_the_image_root_may_be_in_an_archive(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = written(tmp_path / "source", "a.json", [sft_row("1.png")])
    write_archive(source / "p.zip", {"p/one/1.png": image_bytes(), "p/two/1.png": image_bytes(70)})
    (source / "more.7z").write_bytes(b"7z")
    with caplog.at_level(logging.WARNING, "pebr"):
        (row,), _ = filtered(source, image_root="p/two")
    assert row["images"][0]["bytes"] == image_bytes(70)
    assert "more.7z: give tar or zip" in caplog.text


def test_a_row_without_a_column_of_ids_has_its_number(tmp_path: Path) -> None:
    rows = [{k: v for k, v in rl_row().items() if k != "qid"}] * 2
    kept, _ = filtered(written(tmp_path / "source", "a.json", rows), "rl")
    assert [row["qid"] for row in kept] == ["00000000", "00000001"]


def several(turns: list[dict[str, str]]) -> dict[str, Any]:
    """A good row with further turns."""
    return {"messages": [*sft_row()["messages"], *turns], "images": "images/good.png"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (sft_row(answer=ANSWER + "<image>"), "placeholder in an answer"),
        (sft_row(question="<image><|im_start|>?"), "question cannot be asked"),
        (sft_row(question="<image>### Image Description: ### Step 1: ### Final answer:"), "question cannot be asked"),
        (several(sft_row(answer="Seven.", question="And?")["messages"]), "no final answer"),
        (several([{"role": "tool", "content": "x"}]), "turns out of order"),
    ],
)
def test_what_the_warm_up_cannot_train_on_is_rejected_here(tmp_path: Path, row: Any, reason: str) -> None:
    kept, manifest = filtered(written(tmp_path / "source", "a.json", [sft_row(), row]))
    assert manifest.rejected == {reason: 1}
    assert len(kept) == 1


def test_half_a_character_is_no_text(tmp_path: Path) -> None:
    source = written(tmp_path / "source", "a.jsonl", sft_row(answer=ANSWER + "\ud800"))
    with (source / "a.jsonl").open("a") as file:
        file.write("\n" + json.dumps(sft_row()))
    kept, manifest = filtered(source)
    assert (len(kept), manifest.rejected) == (1, {"not Unicode text": 1})


def test_several_turns_and_system_turns_are_kept(tmp_path: Path) -> None:
    system = {"role": "system", "content": "You look at <image>."}
    turns = [system, *sft_row(question="How many?")["messages"], *sft_row(question="And now?")["messages"]]
    (row,), manifest = filtered(
        written(tmp_path / "source", "a.json", [{"messages": turns, "images": "images/good.png"}])
    )
    assert [m["content"] for m in row["messages"]] == ["<image>How many?", ANSWER, "And now?", ANSWER]
    assert manifest.extra["sources"]["a"]["changes"] == {"system turns removed": 1}


def test_a_common_beginning_that_is_not_recognised_is_quoted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    opening = "You are an expert in charts. Think hard, then give the answer in one word. "
    rows = [sft_row(question=f"<image>{opening if n % 2 else ''}Number {n * 7}?") for n in range(40)]
    with caplog.at_level(logging.WARNING, "pebr"):
        filtered(written(tmp_path / "source", "a.json", rows))
    assert f"20 questions begin with the same text, {opening + 'Number '!r}" in caplog.text
    caplog.clear()
    rows = [sft_row(question=f"<image>What is the number of circles in image number {n}?") for n in range(40)]
    with caplog.at_level(logging.WARNING, "pebr"):
        filtered(written(tmp_path / "other", "a.json", [*rows[:5], *[sft_row()] * 35]))
    assert caplog.text == ""


def test_rows_of_a_compressed_archive_come_in_its_order_and_none_is_lost(tmp_path: Path) -> None:
    order = [5, 0, 3, 3, 1, 4, 2, 9]
    rows = [sft_row(f"p/{n}.png", question=f"<image>{n}?") for n in order]
    source = written(tmp_path / "source", "a.json", rows)
    write_archive(source / "p.tar.gz", {f"p/{n}.png": image_bytes(60 + n) for n in range(6)})
    kept, manifest = filtered(source)
    assert [row["messages"][0]["content"] for row in kept] == [f"<image>{n}?" for n in (0, 1, 2, 3, 3, 4, 5)]
    assert [row["images"][0]["bytes"] for row in kept] == [image_bytes(60 + n) for n in (0, 1, 2, 3, 3, 4, 5)]
    assert manifest.rejected == {"image missing": 1}


def test_nested_and_odd_tables_are_read(tmp_path: Path) -> None:
    source = written(tmp_path / "source", "a.json", {"version": 1, "data": [sft_row()] * 2})
    (source / "b.json").write_text("\n".join(json.dumps(sft_row()) for _ in range(3)))
    (source / "c.ndjson").write_text(json.dumps(sft_row()))
    pq.write_table(pa.Table.from_pylist([sft_row()]), source / "d.parquet")
    _, manifest = filtered(source)
    assert {name: facts["kept"] for name, facts in manifest.extra["sources"].items()} == {
        "a": 2,
        "b": 3,
        "c": 1,
        "d": 1,
    }


def test_further_lists_of_an_object_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = written(
        tmp_path / "source", "a.json", {"part1": [rl_row()], "n": 2, "tags": ["x"], "part2": [rl_row()] * 3}
    )
    rows, _ = filtered(source, "rl")
    assert len(rows) == 1
    assert "a.json: only its first list is read, not part2 (3 objects)" in caplog.text


def test_a_link_to_a_folder_around_it_is_not_followed(tmp_path: Path) -> None:
    source = written(tmp_path / "source", "a.json", [rl_row()])
    (source / "loop").symlink_to(source)
    assert filtered(source, "rl")[1].extra["read"] == 1


def test_columns_are_recognised_in_upper_case(tmp_path: Path) -> None:
    row = {name.capitalize(): value for name, value in rl_row().items()}
    assert len(filtered(written(tmp_path / "source", "a.json", [row]), "rl")[0]) == 1


def test_a_broken_line_is_rejected_and_a_cut_file_is_not_read(tmp_path: Path) -> None:
    source = written(tmp_path / "source", "a.jsonl", [])
    line = json.dumps(rl_row())
    (source / "a.jsonl").write_text(f"{line}\n{line[:30]}\n")
    rows, manifest = filtered(source, "rl")
    assert (len(rows), sum(manifest.rejected.values())) == (1, 1)
    (source / "a.jsonl").write_text(f"{line}\n{line[:30]}")
    with pytest.raises(InputError, match="broken JSON in line 2"):
        filtered(source, "rl")


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty"), ("[]".encode("utf-16"), "is UTF-16"), (b'{"q": {}}', "is an object without a list of rows")],
)
def test_what_is_no_table_is_said(tmp_path: Path, content: bytes, said: str) -> None:
    source = written(tmp_path / "source", "a.json", [])
    (source / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=said):
        filtered(source, "rl", files="a.json")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_picture_is_found_whatever_the_form_of_its_accents(tmp_path: Path, form: Any) -> None:
    other = "NFD" if form == "NFC" else "NFC"
    row = rl_row() | {"images": [f"images/{unicodedata.normalize(other, 'café.png')}"]}
    source = written(tmp_path / "source", "a.json", [row])
    (source / "images" / unicodedata.normalize(form, "café.png")).write_bytes(image_bytes())
    assert len(filtered(source, "rl")[0]) == 1


def test_an_infinite_answer_is_none(tmp_path: Path) -> None:
    source = written(tmp_path / "source", "a.json", [rl_row(), rl_row() | {"answer": float("inf")}])
    assert filtered(source, "rl")[1].rejected == {"no answer": 1}


def test_options_whose_letters_alone_occur_in_the_question_are_asked(tmp_path: Path) -> None:
    asked = "<image>What is in (A) and (B)?"
    listed = f"{asked} Options: (A) red (B) blue"
    rows = [rl_row(qid=i, problem=text, options=["red", "blue"], answer="A") for i, text in enumerate((asked, listed))]
    kept, _ = filtered(written(tmp_path / "mine", "rows.json", rows), "rl")
    assert [row["problem"] for row in kept] == [f"{asked}\nOptions:\nA. red\nB. blue", listed]


def test_a_part_that_is_not_read_is_named_and_not_an_empty_turn(tmp_path: Path) -> None:
    parts = [{"type": "video", "video": "a.mp4"}, {"type": "text", "text": "What?"}]
    wrong = {"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": ANSWER}]}
    _, manifest = filtered(written(tmp_path / "mine", "rows.json", [sft_row(), wrong]))
    assert manifest.rejected == {"messages of a wrong type": 1}


def test_an_archive_is_a_folder_of_its_whole_name(tmp_path: Path) -> None:
    source = tmp_path / "mine"
    rows = [rl_row(qid=i, images=[f"v1.0_{split}/1.png"]) for i, split in enumerate(("train", "test"))]
    written(source, "rows.json", rows)
    for split in ("train", "test"):
        write_archive(source / f"v1.0_{split}.tar", {"1.png": image_bytes()})
    kept, _ = filtered(source, "rl")
    assert len(kept) == 2


@pytest.mark.parametrize(
    "content", [[sft_row()], {"a": 1}, [{"folder": "a"}], [], "broken", [1]], ids=lambda content: str(content)[:12]
)
def test_a_users_own_file_called_like_our_list_is_data(tmp_path: Path, content: Any) -> None:
    source = written(tmp_path / "source", "rows.json", [sft_row()])
    (source / "sources.json").write_text(content if isinstance(content, str) else json.dumps(content))
    assert len(filtered(source)[0]) == (2 if content == [sft_row()] else 1)


@pytest.mark.parametrize(("limit", "read"), [(0, [4, 3, 3]), (3, [3]), (4, [4]), (5, [4, 1]), (99, [4, 3, 3])])
def test_a_limit_holds_for_all_tables_of_a_source(tmp_path: Path, limit: int, read: list[int]) -> None:
    for name, count in (("a", 4), ("b", 3), ("c", 3)):
        written(tmp_path / "in" / "mine", f"{name}.json", [sft_row()] * count)
    entry = {"folder": "mine", "name": "mine", "share": 1.0, "limit": limit}
    (tmp_path / "in" / "sources.json").write_text(json.dumps([entry]))
    _, manifest = filtered(tmp_path / "in")
    assert [facts["read"] for facts in manifest.extra["sources"].values()] == read


def big_row() -> dict[str, Any]:
    """A row with an image inside it, longer than what is read to recognise a table."""
    return {"image": "iVBOR" + "A" * 2**19, "messages": sft_row()["messages"]}


@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("make", [sft_row, big_row], ids=["short", "long"])
def test_json_lines_are_recognised_whatever_the_name(tmp_path: Path, make: Any, count: int, end: str) -> None:
    text = "\n".join(json.dumps(make()) for _ in range(count)) + end
    source = written(tmp_path / "source", "good.json", [sft_row()])
    (source / "lines.json").write_text(text)
    _, manifest = filtered(source)
    assert manifest.extra["sources"]["lines"]["form"] == "JSON Lines"
    assert manifest.extra["sources"]["lines"]["read"] == count


@pytest.mark.parametrize("name", ["data", "conversations"])
@pytest.mark.parametrize("indent", [None, 1])
def test_an_object_with_a_list_of_rows_is_no_row(tmp_path: Path, name: str, indent: int | None) -> None:
    source = written(tmp_path / "source", "a.json", [])
    (source / "a.json").write_text(json.dumps({"version": 1, name: [sft_row()] * 3}, indent=indent))
    rows, manifest = filtered(source)
    assert manifest.extra["sources"]["a"]["form"] == "JSON"
    assert len(rows) == 3


def test_one_question_in_a_file_is_a_row(tmp_path: Path) -> None:
    source = written(tmp_path / "source", "a.json", [])
    (source / "a.json").write_text(json.dumps(rl_row(options=[{"text": "red"}, {"text": "blue"}])))
    assert len(filtered(source, "rl")[0]) == 1


def asked(*parts: dict[str, Any]) -> dict[str, Any]:
    """A row whose question is a list of these parts and a text."""
    row = sft_row()
    row["messages"][0]["content"] = [*parts, {"type": "text", "text": "How many?"}]
    return {"messages": row["messages"]}


def test_a_part_of_a_message_that_is_not_read_is_named(tmp_path: Path) -> None:
    rows = [sft_row(), asked({"type": "video", "video": "a.mp4"})]
    _, manifest = filtered(written(tmp_path / "source", "a.json", rows))
    assert manifest.rejected == {"messages of a wrong type": 1}


@pytest.mark.parametrize("key", ["bytes", "base64", "data"])
@pytest.mark.parametrize("start", ["", "data:image/png;base64,"])
def test_a_part_with_base64_may_be_a_data_uri(tmp_path: Path, key: str, start: str) -> None:
    row = asked({"type": "image", key: start + base64.b64encode(image_bytes()).decode()})
    (kept,), _ = filtered(written(tmp_path / "source", "a.json", [row]))
    assert kept["images"][0]["bytes"] == image_bytes()


def test_an_archive_with_a_dot_in_its_name_is_a_folder_of_this_name(tmp_path: Path) -> None:
    source = written(tmp_path / "source", "a.json", [sft_row("v1.0_train/1.png")])
    write_archive(source / "v1.0_train.tar", {"1.png": image_bytes()})
    write_archive(source / "v1.0_test.tar", {"1.png": image_bytes(70)})
    (kept,), _ = filtered(source)
    assert kept["images"][0]["bytes"] == image_bytes()


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    source = written(tmp_path / "source", "a.json", [sft_row()])
    (source / "b.json").symlink_to("nowhere")
    with pytest.raises(InputError, match=r"b\.json is a link that leads nowhere"):
        filtered(source)


def test_a_name_with_a_colon_is_a_name(tmp_path: Path) -> None:
    source = written(tmp_path / "source", "a.json", [sft_row("Q:1.png")])
    write_archive(source / "images-00000.tar", {"Q:1.png": image_bytes()})
    assert len(filtered(source)[0]) == 1
