"""Training data as someone could damage it: every reader ends with rows or with a DataError that names the place."""

import gzip
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from training.datasets import load_rows
from training.datasets.readers.jsonl import DataError

RELAXED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NAMES = st.sampled_from(["image", "question", "answer", "answers", "choices", "region", "source", "caption", "x"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.just("photo.png"),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
ROWS = st.lists(st.dictionaries(NAMES, VALUES, max_size=6), min_size=1, max_size=3)


@pytest.fixture
def folder(tmp_path):
    """A folder with one photo."""
    Image.new("RGB", (4, 4)).save(tmp_path / "photo.png")
    return tmp_path


def read_or_refused(source: str, **options) -> None:
    """Reading gives rows with question and answers, or a DataError with something to say."""
    try:
        rows = load_rows(source, **options)
    except DataError as error:
        assert len(str(error)) > 20
    else:
        assert all(isinstance(row.question, str) for row in rows)


@RELAXED
@given(rows=ROWS, captions=st.booleans())
def test_json_lines_of_any_values(folder, rows, captions):
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    read_or_refused(str(folder / "rows.jsonl"), captions=captions)


@RELAXED
@given(content=st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace")))
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.csv"])
def test_files_of_any_bytes(folder, name, content):
    (folder / name).write_bytes(content)
    read_or_refused(str(folder / name))


@RELAXED
@given(content=st.binary(max_size=300), place=st.integers(0, 60))
def test_damaged_gzip(folder, content, place):
    packed = bytearray(gzip.compress(b'{"image": "photo.png", "question": "what?", "answer": "a"}\n'))
    packed[place % len(packed) :] = content
    (folder / "rows.jsonl.gz").write_bytes(packed)
    read_or_refused(str(folder / "rows.jsonl.gz"))


@RELAXED
@given(
    header=st.lists(st.sampled_from(["image", "question", "answer", "answers", ""]), max_size=5),
    cells=st.text(max_size=80),
)
def test_csv_of_any_header_and_cells(folder, header, cells):
    (folder / "rows.csv").write_text(",".join(header) + "\n" + cells, encoding="utf-8", errors="replace")
    read_or_refused(str(folder / "rows.csv"))


@RELAXED
@given(questions=VALUES, annotations=VALUES, data=st.data())
def test_official_files_of_any_values(folder, questions, annotations, data):
    row = {"image_id": 1, "question_id": 1, "question": "what?"}
    note = {"question_id": 1, "image_id": 1, "answers": [{"answer": "a"}], "multiple_choice_answer": "a"}
    row[data.draw(st.sampled_from(sorted(row)))] = questions
    note[data.draw(st.sampled_from(sorted(note)))] = annotations
    (folder / "q.json").write_text(json.dumps({"questions": data.draw(st.sampled_from([[row], row, [questions]]))}))
    (folder / "a.json").write_text(
        json.dumps({"annotations": data.draw(st.sampled_from([[note], note, [annotations]]))})
    )
    read_or_refused(f"vqa_v2:{folder / 'q.json'},{folder / 'a.json'},{folder}")


def test_deeply_nested_json_is_refused(folder):
    (folder / "rows.jsonl").write_text("[" * 100_000)
    read_or_refused(str(folder / "rows.jsonl"))
    (folder / "q.json").write_text("[" * 100_000)
    read_or_refused(f"vqa_v2:{folder / 'q.json'},{folder / 'q.json'},{folder}")


def test_a_photo_path_cannot_be_a_nul_or_a_folder(folder):
    for image in ("\0", ".", "..", "a" * 5000, "photo.png/x"):
        (folder / "rows.jsonl").write_text(json.dumps({"image": image, "question": "what?", "answer": "a"}))
        with pytest.raises(DataError):
            load_rows(str(folder / "rows.jsonl"))
