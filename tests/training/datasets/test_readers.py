"""The one door to training data: CSV files, VQA v2's official files, easy-VQA, and how their faults are named."""

import json
import sys
from pathlib import Path

import pytest
from PIL import Image
from toy_data import write_rows, write_vqa_v2

from training.datasets import load_rows, scan_source
from training.datasets.readers.jsonl import DataError, Row, read_rows

TEN = ["red"] * 8 + ["Red", "dark red"]


@pytest.fixture
def photo(tmp_path) -> Path:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (2, 2)).save(tmp_path / "photos" / "1.png")
    return tmp_path / "photos" / "1.png"


def write_csv(folder: Path, *lines: str, name: str = "rows.csv") -> Path:
    path = folder / name
    path.write_text("\r\n".join(lines) + "\r\n", encoding="utf-8-sig")
    return path


def test_json_lines_go_through_the_same_door(colored_squares):
    assert load_rows(str(colored_squares)) == load_rows(colored_squares) == read_rows(colored_squares)


def test_a_csv_file_and_its_folder_are_read(tmp_path, photo):
    path = write_csv(
        tmp_path,
        "answer,image,question,choices,source,notes",
        'cat,photos/1.png,"what, if anything, is it?",,,mine',
        "2|two|3,photos/1.png,¿cuántos?,2|3,shop,",
        ",,,,,",  # Excel leaves such rows
    )
    rows = [
        Row(photo, "what, if anything, is it?", ("cat",)),
        Row(photo, "¿cuántos?", ("2", "two", "3"), ("2", "3"), "shop"),
    ]
    assert load_rows(str(path)) == load_rows(str(tmp_path)) == rows
    assert [row.image for row in load_rows(str(path), photos=False)] == [None, None]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (",what?,cat", "`image` is empty"),
        ("photos/2.png,what?,cat", "there is no photo .*2.png"),
        ("photos/1.png,,cat", "`question` is empty"),
        ("photos/1.png,what?,", "`answer` is empty"),
        ("photos/1.png,what?", "`answer` is empty"),
        ("photos/1.png,what?,cat||dog", r"`answer` is 'cat\|\|dog'"),
        ("photos/1.png,what, then?,cat,", "more fields than columns"),
    ],
)
def test_a_faulty_line_of_a_csv_is_named(tmp_path, photo, line, fault):
    two_lines = 'photos/1.png,"what\r\nis it?",cat'
    path = write_csv(tmp_path, "image,question,answer", two_lines, line)
    with pytest.raises(DataError, match=f"^{path}:4: .*{fault}"):
        load_rows(str(path))


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (["image;question;answer", "1;2;3"], r":1: there is no column 'image' but 'image;question;answer'"),
        (["image,question", "1,2"], "there is no column 'answer'"),
        (["image,question,answer,answer", "1,2,3,4"], ":1: the column 'answer' is there twice; leave one"),
        (["source,image,question,answer,source", "1,2,3,4,5"], ":1: the column 'source' is there twice"),
        (["image,question,answer"], "has no row"),
        (["image,question,answer", 'photos/1.png,what?,"cat'], "not valid CSV"),
    ],
)
def test_a_csv_that_cannot_be_read_is_named(tmp_path, lines, fault):
    path = write_csv(tmp_path, *lines)
    with pytest.raises(DataError, match=f"{path}.*{fault}"):
        load_rows(str(path))


def test_a_csv_in_another_encoding_is_named(tmp_path):
    (tmp_path / "rows.csv").write_bytes("image,question,answer\n1,größe?,x\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"rows\.csv is no UTF-8 text"):
        load_rows(str(tmp_path / "rows.csv"))


def test_a_folder_needs_exactly_one_csv(tmp_path):
    with pytest.raises(DataError, match=r"exactly one \.csv file; found: none"):
        load_rows(str(tmp_path))
    write_csv(tmp_path, "image", name="a.csv")
    write_csv(tmp_path, "image", name="b.csv")
    with pytest.raises(DataError, match=r"found: a\.csv, b\.csv"):
        load_rows(str(tmp_path))


@pytest.mark.parametrize("source", ["coco:val", "vqa-v2:a,b,c"])
def test_an_unknown_reader_is_named(source):
    with pytest.raises(DataError, match=f"no reader .* for '{source}'; allowed: FILE.jsonl"):
        load_rows(source)


@pytest.mark.parametrize("source", ["gone.csv", "gone.jsonl", "gone"])
def test_a_missing_file_is_named(source):
    with pytest.raises(DataError, match=f"no data file {source}"):
        load_rows(source)


def test_official_vqa_v2_files_keep_all_ten_answers(tmp_path):
    source = write_vqa_v2(tmp_path / "v2", [9, 9, 123456], [TEN, ["no"] * 10, ["blue"] * 10])
    folder = tmp_path / "v2" / "photos"
    first, last = folder / "COCO_train2014_000000000009.jpg", folder / "COCO_train2014_000000123456.jpg"
    question = "what color is the square?"
    assert load_rows(source) == [
        Row(first, question, tuple(TEN), source="vqa_v2"),
        Row(first, question, ("no",) * 10, source="vqa_v2"),
        Row(last, question, ("blue",) * 10, source="vqa_v2"),
    ]
    blind = source.rpartition(",")[0] + ",nowhere"
    assert {row.image for row in load_rows(blind, photos=False)} == {None}


def drop_photo(questions, annotations, folder):
    (folder / "photos" / "COCO_train2014_000000000008.jpg").unlink()


def drop_annotation(questions, annotations, folder):
    annotations["annotations"].pop()


def drop_question(questions, annotations, folder):
    questions["questions"].pop()


def other_photo(questions, annotations, folder):
    annotations["annotations"][1]["image_id"] = 3


def no_text(questions, annotations, folder):
    questions["questions"][1]["question"] = " "


def no_answers(questions, annotations, folder):
    annotations["annotations"][1]["answers"] = []


def bad_answer(questions, annotations, folder):
    annotations["annotations"][1]["answers"][3]["answer"] = 7


def ask_twice(questions, annotations, folder):
    questions["questions"].append(questions["questions"][1])


def annotate_twice(questions, annotations, folder):
    annotations["annotations"].append(annotations["annotations"][1])


def no_number(questions, annotations, folder):
    questions["questions"][1]["question_id"] = "11"


def no_object(questions, annotations, folder):
    questions["questions"][1] = 5


def no_subtype(questions, annotations, folder):
    del questions["data_subtype"]


def no_list(questions, annotations, folder):
    questions["questions"] = []


def no_folder(questions, annotations, folder):
    (folder / "photos").rename(folder / "elsewhere")


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (drop_photo, r"questions.json: question 11: there is no photo .*COCO_train2014_000000000008\.jpg"),
        (drop_annotation, "questions.json: question 11: .*annotations.json has no annotation of it"),
        (drop_question, "annotations.json: question 11: .*questions.json doesn't ask it"),
        (other_photo, "question 11: `image_id` is 8, but 3 in .*annotations.json"),
        (no_text, "question 11: `question` is ' '"),
        (no_answers, "question 11: `answers` is .* in .*annotations.json"),
        (bad_answer, "question 11: `answer` is 7"),
        (ask_twice, "question 11: this `question_id` occurs twice"),
        (annotate_twice, "annotations.json: question 11: it is annotated twice"),
        (no_number, "question 11: `question_id` is '11'"),
        (no_object, "question number 1: `question_id` is None"),
        (no_subtype, "questions.json: `data_subtype` is None"),
        (no_list, "questions.json holds no list `questions`"),
        (no_folder, "no folder of photos .*photos"),
    ],
)
def test_a_fault_in_official_files_is_named(tmp_path, spoil, fault):
    folder = tmp_path / "v2"
    source = write_vqa_v2(folder, [9, 8], [TEN, TEN])
    questions, annotations = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("questions", "annotations")
    )
    spoil(questions, annotations, folder)
    (folder / "questions.json").write_text(json.dumps(questions))
    (folder / "annotations.json").write_text(json.dumps(annotations))
    with pytest.raises(DataError, match=fault):
        load_rows(source)


def test_official_files_in_the_wrong_order_or_number_are_named(tmp_path):
    questions, annotations, folder = write_vqa_v2(tmp_path / "v2", [9], [TEN]).removeprefix("vqa_v2:").split(",")
    with pytest.raises(DataError, match=r"annotations.json holds no list `questions`\. The order"):
        load_rows(f"vqa_v2:{annotations},{questions},{folder}")
    with pytest.raises(DataError, match="names 2 paths; three are needed"):
        load_rows(f"vqa_v2:{questions},{annotations}")
    with pytest.raises(DataError, match=r"no file of questions gone\.json"):
        load_rows(f"vqa_v2:gone.json,{annotations},{folder}")
    Path(questions).write_text("{")
    with pytest.raises(DataError, match=r"questions\.json is not valid JSON"):
        load_rows(f"vqa_v2:{questions},{annotations},{folder}")


def test_easy_vqa_has_its_official_size():
    pytest.importorskip("easy_vqa")
    train, test = load_rows("easy-vqa:train"), load_rows("easy-vqa:test")
    assert (len(train), len(test)) == (38575, 9673)  # as the package's README says
    assert len({row.image for row in train}) == 4000 and len({row.image for row in test}) == 1000
    assert {row.answers for row in test} <= {row.answers for row in train} and len({row.answers for row in train}) == 13
    assert train[0] == Row(train[0].image, "what is the blue shape?", ("rectangle",), source="easy_vqa")
    assert train[0].image.is_file() and train[0].image.name == "0.png"


def test_easy_vqa_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "easy_vqa", None)
    with pytest.raises(DataError, match="pip install easy-vqa"):
        load_rows("easy-vqa:train")


def test_an_unknown_split_of_easy_vqa_is_named():
    with pytest.raises(DataError, match="no split 'val'; allowed: easy-vqa:train, easy-vqa:test"):
        load_rows("easy-vqa:val")


def test_captions_are_rows_without_answers_where_they_are_wanted(tmp_path, photo):
    caption = {"image": "photos/1.png", "caption": "a black square", "source": "mine"}
    path = write_rows(tmp_path / "rows.jsonl", [caption, {"image": "photos/1.png", "question": "?", "answer": "no"}])
    rows = load_rows(str(path), captions=True)
    assert rows == [Row(photo, "a black square", (), source="mine"), Row(photo, "?", ("no",))]
    with pytest.raises(DataError, match=f"{path}:1: a `caption` has no answer .*objective: pretraining"):
        load_rows(str(path))
    write_rows(path, [caption | {"answer": "black"}])
    with pytest.raises(DataError, match=":1: `caption` stands beside `answer`"):
        load_rows(str(path), captions=True)


def test_all_faults_can_be_collected(tmp_path, photo):
    good = {"image": "photos/1.png", "question": "?", "answer": "no"}
    path = write_rows(tmp_path / "rows.jsonl", [good | {"image": "x.png"}, good, good | {"answer": 3}])
    entries = list(scan_source(str(path)))
    assert [place for place, _ in entries] == [f"{path}:{number}" for number in (1, 2, 3)]
    assert [isinstance(row, DataError) for _, row in entries] == [True, False, True]
