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


def test_an_image_of_a_row_that_uses_another_rows_image(tmp_path: Path) -> None:
    lines = [f"0.0\t{BASE64}\tQ\t1", "1.0\t0\tQ\t1", "2.0\t1.0\tQ\t1", "3.0\t4\tQ\t1", "4.0\t3\tQ\t1"]
    rows = list(read_tsv(table(tmp_path, "index\timage\tquestion\tanswer", *lines)))
    assert [row.images for row in rows] == [[IMAGE]] * 3 + [[], []]  # the last two use each other's
    assert [row.fault is None for row in rows] == [True] * 3 + [False, False]


@pytest.mark.parametrize(
    "cell",
    [
        BASE64,
        f"data:image/png;base64,{BASE64}",
        BASE64.rstrip("="),
        BASE64.replace("+", "-").replace("/", "_"),
        f'"{BASE64[:76]}\n{BASE64[76:]}"',
    ],
)
def test_an_image_in_any_form_of_base64(tmp_path: Path, cell: str) -> None:
    (row,) = read_tsv(table(tmp_path, "index\timage\tquestion\tanswer", f"1\t{cell}\tQ\tA"))
    assert row.images == [IMAGE]


def test_a_tiny_image_is_no_index(tmp_path: Path) -> None:
    gif = b"GIF89a" + bytes(20)
    lines = [f"1\t{base64.b64encode(gif).decode()}\tQ\tA", "2\t1\tQ\tA"]
    assert [row.images for row in read_tsv(table(tmp_path, "index\timage\tquestion\tanswer", *lines))] == [[gif]] * 2


def test_image_files_lie_beside_the_table_or_in_its_folder_of_images(tmp_path: Path) -> None:
    (tmp_path / "images" / "b").mkdir(parents=True)
    for name in ("1.png", "images/2.png", "images/b/3.png"):
        (tmp_path / name).write_bytes(name.encode())
    lines = ["1\t1.png\tQ\tA", "2\t['images/2.png', '2.png']\tQ\tA", "3\t3.png\tQ\tA", "4\t4.png\tQ\tA"]
    rows = list(read_tsv(table(tmp_path, "index\timage_path\tquestion\tanswer", *lines)))
    assert [row.images for row in rows] == [[b"1.png"], [b"images/2.png"] * 2, [b"images/b/3.png"], []]
    assert rows[3].fault is not None
    assert rows[3].fault.kind == "image file is missing"


def test_a_row_without_image_is_set_aside_if_others_have_one(tmp_path: Path) -> None:
    header = "index\timage\tquestion\tanswer"
    rows = list(read_tsv(table(tmp_path, header, f"1\t{BASE64}\tQ\tA", "2\t\tQ\tA", "3\tnan\tQ\tA")))
    assert [row.fault.kind if row.fault else "" for row in rows] == ["", "no image", "no image"]
    assert [row.fault for row in read_tsv(table(tmp_path, header, "1\t\tQ\tA"))] == [None]  # a table of texts


def test_none_is_a_text_if_it_is_the_last_option_alone(tmp_path: Path) -> None:
    header = "index\tquestion\tA\tB\tC\tD\tanswer"
    rows = list(read_tsv(table(tmp_path, header, "1\tQ\tred\tblue\tNone\t\tC", "2\tQ\tred\tblue\tNone\tNone\tA")))
    assert [row.options for row in rows] == [{"A": "red", "B": "blue", "C": "None"}, {"A": "red", "B": "blue"}]


def test_the_case_of_a_known_columns_name_does_not_matter(tmp_path: Path) -> None:
    (row,) = read_tsv(table(tmp_path, "Index\tQuestion\tAnswer\tID", "1\tQ\tA\t3"))
    assert (row.index, row.question, row.answer, row.extra) == ("1", "Q", "A", {"ID": "3"})


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
