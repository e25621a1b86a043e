"""Tables and texts as editors and spreadsheets save them."""

from pathlib import Path

import pytest

from fire_tf.files.errors import InputError
from fire_tf.files.tables import read_table, read_text, write_table

ROWS = [{"folder": "p0", "subject": "Müller"}, {"folder": "p 1, right", "subject": ""}]
TEXT = 'folder,subject\np0,Müller\n"p 1, right",\n'


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(TEXT.encode(), id="plain"),
        pytest.param(TEXT.encode("utf-8-sig"), id="byte order mark"),
        pytest.param(TEXT.replace("\n", "\r\n").encode("utf-8-sig"), id="CRLF"),
        pytest.param(TEXT.replace("\n", "\r").encode(), id="CR"),
        pytest.param('folder;subject\np0;Müller\n"p 1, right";\n'.encode(), id="semicolons"),
        pytest.param("folder\tsubject\np0\tMüller\np 1, right\t\n".encode(), id="tabs"),
        pytest.param((TEXT + ",\n\n , \n").encode(), id="empty last rows"),
        pytest.param(("\n,\n" + TEXT).encode(), id="empty first rows"),
        pytest.param('folder,subject,\np0,Müller,\n"p 1, right",,\n'.encode(), id="an empty last column"),
        pytest.param(' folder , subject\np0 , Müller\n"p 1, right"\n'.encode(), id="blanks, a short row"),
    ],
)
def test_a_table_is_the_same_however_it_was_saved(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_bytes(content)
    table = read_table(tmp_path / "pairs.csv")
    assert table.columns == ("folder", "subject")
    assert [row.cells for row in table.rows] == ROWS


def test_rows_know_their_lines(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n\n1,2\n,\n3,4\n")
    assert [row.number for row in read_table(tmp_path / "a.csv").rows] == [3, 5]


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (TEXT.encode("latin-1"), "byte 0xfc in line 2 is not UTF-8"),
        (TEXT.encode("utf-16"), "in UTF-16"),
        (TEXT.encode("utf-16-le"), "is not UTF-8|zero bytes"),
        ("folder\np0\n".encode("utf-16-be"), "zero bytes"),
        (b"a,b\n1,2,3\n", "line 2 has 3 cells, the heading 2"),
        (b"a,b,a\n1,2,3\n", "more than one column 'a'"),
        (b'a,b\n"1,2\n3,4\n', "cannot be read as a CSV table"),
        (None, "No such file"),
    ],
)
def test_what_is_no_table_is_named(content: bytes | None, cause: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rf"^\S*pairs\.csv: .*({cause})"):
        read_table(path)


def test_a_written_table_is_read_again_and_text_has_no_mark(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", [{"a": "Müller; x", "b": 1 / 3, "c": 7}])
    assert [row.cells for row in read_table(tmp_path / "t.csv").rows] == [
        {"a": "Müller; x", "b": "0.333333", "c": "7"}
    ]
    (tmp_path / "t.txt").write_bytes(b"\xef\xbb\xbfa: 1\r\n")
    assert read_text(tmp_path / "t.txt") == "a: 1\r\n"
