"""The native data format: what is read, and how every fault is named."""

import contextlib
import gzip
import json
import os

import pytest
from PIL import Image

from training.datasets.readers.jsonl import DataError, Row, read_rows

GOOD = {"image": "photos/1.png", "question": "what is it?", "answer": "cat"}


@pytest.fixture
def write(tmp_path):
    """Write lines, objects as JSON, to rows.jsonl beside one photo; returns the path."""
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (2, 2)).save(tmp_path / "photos" / "1.png")

    def write_lines(*lines):
        path = tmp_path / "rows.jsonl"
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        path.write_text("\n".join(texts) + "\n", encoding="utf-8")
        return path

    return write_lines


def test_rows_are_read_with_and_without_options(write, tmp_path):
    options = {"choices": ["cat", "dog"], "source": "mine", "region": [0, 0.25, 1, 0.5]}
    answers = {"image": "photos/1.png", "question": "¿qué?", "answers": ["cat", "kitten"]}
    photo = tmp_path / "photos" / "1.png"
    assert read_rows(write(GOOD, "", GOOD | options, "   ", answers | {"region": None})) == [
        Row(photo, "what is it?", ("cat",)),
        Row(photo, "what is it?", ("cat",), ("cat", "dog"), "mine", (0.0, 0.25, 1.0, 0.5)),
        Row(photo, "¿qué?", ("cat", "kitten")),
    ]


def test_compressed_rows_are_the_same(write):
    path = write(GOOD)
    compressed = path.with_suffix(".jsonl.gz")
    compressed.write_bytes(gzip.compress(path.read_bytes()))
    assert read_rows(compressed) == read_rows(path)


def test_a_byte_order_mark_is_no_part_of_the_first_row(write):
    path = write(GOOD, GOOD)
    expected, plain = read_rows(path), path.read_bytes()
    path.write_bytes(b"\xef\xbb\xbf" + plain)
    assert read_rows(path) == expected
    compressed = path.with_suffix(".jsonl.gz")
    compressed.write_bytes(gzip.compress(b"\xef\xbb\xbf" + plain))
    assert read_rows(compressed) == expected


def test_texts_are_read_in_their_normal_form_and_names_of_files_as_they_are(write, tmp_path):
    photo = tmp_path / "photos" / "cafe\u0301 ’1’.png"
    photo.write_bytes((tmp_path / "photos" / "1.png").read_bytes())
    row = {
        "image": f"photos/{photo.name}",
        "question": "what’s\u00a0it?",
        "answers": ["a ﬁsh", "“cat”"],
        "source": "x y",
    }
    assert read_rows(write(row | {"choices": ["cat’s", "dog"]})) == [
        Row(photo, "what's it?", ("a fish", '"cat"'), ("cat's", "dog"), "x y")
    ]


def test_without_photos_the_image_is_ignored(write):
    path = write({"question": "what?", "answer": "cat"}, GOOD | {"image": "gone.png"})
    assert [row.image for row in read_rows(path, photos=False)] == [None, None]


def changed(**changes) -> dict:
    return {name: value for name, value in (GOOD | changes).items() if value != "absent"}


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('{"image": ', "not valid JSON"),
        ("[1, 2]", "a JSON object is expected, not list"),
        (json.dumps(GOOD)[:-1] + ', "answer": "dog"}', "`answer` is given twice; leave one"),
        (changed(question="what \ud83d?"), r"The question has half a character at place 6: \\ud83d"),
        (changed(answer="\udfff"), "The answer has half a character at place 1"),
        (changed(choices=["cat", "\udfff"]), "The choices has half a character"),
        (changed(answer="\u200b"), "`answer` is "),
        (changed(image="caf\udce9.png"), r"the name of the photo .*caf\\xe9\.png is no UTF-8 text; rename"),
        (changed(image="absent"), "`image` is None"),
        (changed(image=3), "`image` is 3"),
        (changed(image="gone.png"), "there is no photo .*gone.png"),
        (changed(image="photos"), "there is no photo"),
        (changed(question="absent"), "`question` is None"),
        (changed(question="  "), "`question` is '  '"),
        (changed(answer="absent"), "either `answer`"),
        (changed(answers=["cat"]), "either `answer`"),
        (changed(answer=["cat"]), r"`answer` is \['cat'\]"),
        (changed(answer=""), "`answer` is ''"),
        (changed(answer="absent", answers="cat"), "`answers` is 'cat'"),
        (changed(answer="absent", answers=["cat", ""]), "`answers` is "),
        (changed(answer="absent", answers=[]), "`answers` is empty"),
        (changed(choices="cat"), "`choices` is 'cat'"),
        (changed(choices=[1]), r"`choices` is \[1\]"),
        (changed(source=7), "`source` is 7"),
        (changed(region=[0, 0, 1]), "`region` is "),
        (changed(region=[0.5, 0, 0.5, 1]), "`region` is "),
        (changed(region=[0, 0, 1, 1.1]), "`region` is "),
        (changed(region=["0", 0, 1, 1]), "`region` is "),
        (changed(region=[False, 0, 1, True]), "`region` is "),
        (changed(region=[float("nan"), 0, 1, 1]), "`region` is "),
    ],
)
def test_a_faulty_row_is_named_with_file_line_and_fault(write, line, fault):
    path = write(GOOD, "", line, GOOD)
    with pytest.raises(DataError, match=f"^{path}:3: .*{fault}"):
        read_rows(path)


@pytest.mark.parametrize("lines", [[], ["", "  "]])
def test_a_file_without_rows_is_refused(write, lines):
    with pytest.raises(DataError, match=r"rows\.jsonl has no row"):
        read_rows(write(*lines))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no data file .*gone\.jsonl"):
        read_rows(tmp_path / "gone.jsonl")


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(DataError, match=r"rows\.jsonl is no UTF-8 text"):
        read_rows(tmp_path / "rows.jsonl")


@pytest.mark.parametrize("spoil", [lambda content: content[:-10], lambda content: b"plain" + content])
def test_a_damaged_gzip_file_is_named(write, spoil):
    path = write(GOOD).with_suffix(".jsonl.gz")
    path.write_bytes(spoil(gzip.compress(json.dumps(GOOD).encode())))
    with pytest.raises(DataError, match=r"rows\.jsonl\.gz is a damaged gzip file"):
        read_rows(path)


def test_a_photo_whose_name_is_no_utf_8_is_named_with_its_row(write, tmp_path):
    """Before training: no cache, report or export of ours could hold such a name."""
    odd = os.fsdecode(b"caf\xe9.png")
    with contextlib.suppress(OSError):  # some disks take no such name
        (tmp_path / odd).write_bytes(b"x")
    with pytest.raises(DataError, match=r"rows\.jsonl:2: the name of the photo .*caf\\xe9\.png is no UTF-8 .* rename"):
        read_rows(write(GOOD, GOOD | {"image": odd}))
