"""VLMEvalKit's tables, with their formats of images and options."""

import base64
import tracemalloc
from pathlib import Path

import pytest

from pebr.data.benchmark import read_tsv
from pebr.errors import InputError

IMAGE = bytes(range(200))
BASE64 = base64.b64encode(IMAGE).decode()


def table(tmp_path: Path, header: str, *lines: str) -> Path:
    path = tmp_path / "b.tsv"
    path.write_text("\n".join((header, *lines)) + "\n")
    return path


def test_options_and_columns_are_told_apart(tmp_path: Path) -> None:
    path = table(tmp_path, "index\tquestion\tB\tA\tanswer\tcategory\tID", "7\tWhich?\tred\tblue\tB\tcolour\t3")
    (row,) = read_tsv(path)
    assert row.options == {"A": "blue", "B": "red"}
    assert (row.index, row.category, row.extra) == ("7", "colour", {"ID": "3"})


def test_an_empty_option_is_none(tmp_path: Path) -> None:
    (row,) = read_tsv(table(tmp_path, "index\tquestion\tA\tB\tC\tanswer", "7\tWhich?\tred\tblue\tnan\tB"))
    assert list(row.options) == ["A", "B"]


def test_an_image_is_base64_or_a_list_or_another_rows(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "index\timage\tquestion\tanswer",
        f"1\t{BASE64}\tQ\t1",
        "2\t1\tQ\t2",
        f"3\t['{BASE64}', '{BASE64}']\tQ\t3",
        "4\t\tQ\t4",
        "5\t6\tQ\t5",  # of a later row
        f'6\t"[""{BASE64}""]"\tQ\t6',
    )
    expected = [[IMAGE], [IMAGE], [IMAGE, IMAGE], [], [IMAGE], [IMAGE]]
    assert [row.images for row in read_tsv(path)] == expected


def test_only_images_that_are_used_again_stay_in_memory(tmp_path: Path) -> None:
    """20 MB of images; the table in memory would need more than that."""
    lines = [f"{i}\t{base64.b64encode(bytes([i]) * 200_000).decode()}\tQ\t1" for i in range(100)]
    path = table(tmp_path, "index\timage\tquestion\tanswer", *lines, "100\t3\tQ\t1")
    del lines
    tracemalloc.start()
    try:
        assert [row.images[0][0] for row in read_tsv(path)] == [*range(100), 3]
        assert tracemalloc.get_traced_memory()[1] < 6_000_000
    finally:
        tracemalloc.stop()


def test_a_byte_order_mark_is_not_part_of_a_columns_name(tmp_path: Path) -> None:
    (tmp_path / "b.tsv").write_text("index\tquestion\tanswer\n1\tQ\tA\n", encoding="utf-8-sig")
    assert [row.index for row in read_tsv(tmp_path / "b.tsv")] == ["1"]


def test_a_file_that_is_missing_or_not_text_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        list(read_tsv(tmp_path / "none.tsv"))
    (tmp_path / "b.tsv").write_bytes(b"index\tquestion\tanswer\n1\t\xff\xfe\tA\n")
    with pytest.raises(InputError, match="UTF-8"):
        list(read_tsv(tmp_path / "b.tsv"))


def test_a_table_without_a_needed_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no column 'question'"):
        list(read_tsv(table(tmp_path, "index\tanswer", "1\tA")))


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("1\tQ\tA\t99", "image is that of a row without one"),
        ("1\tQ\tA\t1", "image is that of a row without one"),
        ("1\tQ\tA\t2", "image is that of a row without one"),  # the image of row 2 is broken
        ("1\tQ\tA\t" + "!" * 100, "image is not base64"),
        ("1\tQ\tA\t[broken", "image list is none"),
        ("1\tQ\tA\t" + "[" * 5000, "image list is none"),
        ("1\t\tA\t", "no question"),
        ("1\tQ\tnan\t", "no answer"),
        ("\tQ\tA\t", "no index"),
        ("3\tQ\tA\t", "index occurs twice"),
    ],
)
def test_a_row_that_cannot_be_used_comes_out_with_its_fault_and_the_others_without(
    tmp_path: Path, line: str, kind: str
) -> None:
    header = "index\tquestion\tanswer\timage"
    rows = list(read_tsv(table(tmp_path, header, f"3\tQ\tA\t{BASE64}", line, "2\tQ\tA\t" + "!" * 100, "4\tQ\tA\t3")))
    assert [row.fault.kind if row.fault else "" for row in rows] == ["", kind, "image is not base64", ""]
    assert rows[1].fault is not None
    assert "line 3" in rows[1].fault.detail
    assert [row.images for row in rows] == [[IMAGE], [], [], [IMAGE]]


def test_a_row_that_is_set_aside_takes_no_index_from_a_good_one(tmp_path: Path) -> None:
    rows = list(read_tsv(table(tmp_path, "index\tquestion\tanswer", "1\tQ\t", "1\tQ\tB")))
    assert [row.fault is None for row in rows] == [False, True]
