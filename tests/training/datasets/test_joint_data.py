"""What joint training learns from: its arrays, and that what only measures stays out."""

import gzip
import json

import numpy as np
import pytest
from toy_data import write_joint_data, write_rows

from training.datasets.joint_data import (
    BALANCED,
    FILL_IN,
    MAX_BOXES,
    OPEN,
    PRESENCE,
    YES_NO,
    JointSources,
    RowTable,
    TextTable,
    concept_labels,
    joint_data,
    kind_of,
    photo_texts,
    question_rows,
    read_json_lines,
)
from training.datasets.questions import answer_index
from training.datasets.readers.jsonl import DataError, Row
from valm_core.model.encoders.text_encoder import build_tokenizer


@pytest.fixture
def sources(tmp_path) -> JointSources:
    return JointSources(**write_joint_data(tmp_path))


@pytest.fixture(scope="session")
def tokenizer(tiny_text_folder):
    return build_tokenizer(f"transformers:{tiny_text_folder}")


@pytest.fixture
def data(sources, tokenizer, wordnet) -> dict:
    return joint_data(sources, tokenizer, concepts=12)


def test_the_arrays_hold_every_question_once_with_its_kind_and_shares(data):
    arrays, photos, answers = data["arrays"], data["photos"], data["answers"]
    assert len(photos) == 29 and "squares/27.png" not in photos and {"more/a.png", "more/b.png"} <= set(photos)
    assert set(answers) == {"red", "green", "blue", "yellow", "yes", "no"}
    kinds = arrays["row_kind"].tolist()
    assert kinds.count(OPEN) == 27 and kinds.count(BALANCED) == 27 and kinds.count(YES_NO) == 1
    assert kinds.count(PRESENCE) >= 2 * 12 and kinds.count(FILL_IN) >= 27
    shares = np.add.reduceat(arrays["row_shares"], arrays["row_starts"][:-1])
    assert np.allclose(shares, 1)
    row = next(
        at for at, kind in enumerate(kinds) if kind == BALANCED and photos[arrays["row_photo"][at]][8:10] == "01"
    )
    span = slice(arrays["row_starts"][row], arrays["row_starts"][row + 1])
    given = zip(arrays["row_answers"][span], arrays["row_shares"][span], strict=True)
    told = {answers[answer]: share for answer, share in given}
    assert told == pytest.approx({"no": 2 / 3, "yes": 1 / 3})


def test_questions_without_photos_have_no_photo(data):
    arrays = data["arrays"]
    assert set(arrays["blind_photo"].tolist()) == {-1}
    assert arrays["blind_kind"].tolist()[:4] == [BALANCED] * 4  # ten answers a question, as VQA v2's
    assert (arrays["blind_kind"] == FILL_IN).sum() == 1  # one word of the caption without a photo


def test_boxes_of_persons_are_corners_and_only_a_sided_photo_stays_unmirrored(data):
    arrays, first = data["arrays"], data["photos"].index("squares/00.png")
    assert arrays["boxes"].shape == (29, MAX_BOXES, 4)
    assert np.allclose(arrays["boxes"][first, 0], [0.05, 0.1, 0.45, 0.9])
    assert np.isnan(arrays["boxes"][first, 1:]).all() and (~np.isnan(arrays["boxes"][:, 0, 0])).sum() == 14
    assert np.flatnonzero(arrays["sided"]).tolist() == [first]


def test_what_is_known_of_photos(sources):
    texts, described = photo_texts(question_rows(sources), sources)
    assert "zebra" not in texts["squares/01.png"].shown  # a caption of the validation split
    assert "horse" not in texts["squares/02.png"].shown and "horse" in texts["squares/03.png"].shown  # unsure, sure
    assert texts["squares/04.png"].tags == ("sky",)
    assert texts["squares/00.png"].answers == ("red",) and "left" not in texts["squares/00.png"].shown
    assert described == set(texts)


def test_concepts_are_shown_absent_or_left_open(data, sources, wordnet):
    texts, described = photo_texts(question_rows(sources), sources)
    vocabulary = ["person", "man", "dog", "square", "red"]
    labels = concept_labels(texts, ["squares/00.png", "squares/14.png"], described - {"squares/14.png"}, vocabulary)
    assert sorted(map(tuple, labels["concept_shown"].tolist())) == [(0, 0), (0, 1), (0, 4), (1, 2)]  # a man is a person
    assert sorted(map(tuple, labels["concept_maybe"].tolist())) == [(0, 3), (1, 3), (1, 4)]  # asked about
    assert labels["absent_weight"].tolist() == pytest.approx([1.0, 0.4])
    assert len(data["concepts"]) == 12 and {"dog", "ball"} <= set(data["concepts"])


def test_tokens_know_function_words_and_persons(tokenizer):
    table = TextTable(tokenizer)
    assert [table.place(text) for text in ("is the man red?", "red", "is the man red?")] == [0, 1, 0]
    arrays = table.arrays()
    assert arrays["text_starts"].tolist() == [0, 7, 10]  # [CLS] is the man red ? [SEP]
    assert arrays["text_function"].tolist() == [1, 1, 1, 0, 0, 1, 1, 1, 0, 1]
    assert arrays["text_person"].tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]


def test_questions_whose_answers_are_all_unknown_are_left_out(tokenizer):
    table = RowTable(TextTable(tokenizer), {"red": 0})
    table.add("what color?", ("blue",), OPEN, 0)
    table.add("what color?", ("red", "blue", "red"), OPEN, 0)
    arrays = table.arrays("row")
    assert arrays["row_starts"].tolist() == [0, 1] and arrays["row_shares"].tolist() == [1.0]


def test_answers_that_only_a_mark_tells_apart_are_found(tokenizer):
    table = RowTable(TextTable(tokenizer), answer_index(["c", "c++", "<5"]))
    for answer in ("C++", "< 5", "C", "<5"):
        table.add("what is it?", (answer,), OPEN, 0)
    assert table.answers == [1, 0, 2]  # "< 5" is 5 by the rules, which isn't in the list


@pytest.mark.parametrize(
    ("answers", "source", "kind"),
    [
        (("red",), "vqa_v2", OPEN),
        (("yes",), "vqa_v1", YES_NO),
        (("no", "no", "red"), "vqa_v2_yes_no", BALANCED),
        (("red", "Yes", "yes."), "vqa_v1", YES_NO),
    ],
)
def test_kinds(answers, source, kind):
    assert kind_of(Row(None, "?", answers, source=source)) == kind


@pytest.mark.parametrize("name", ["questions", "captions", "captioned", "texts"])
def test_a_folder_of_statements_is_refused_wherever_it_is_named(tmp_path, name):
    path = str(tmp_path / "statements" / "yes_no.jsonl")
    given = {"questions": [str(tmp_path)], "captions": str(tmp_path)} | {name: path if name == "captions" else [path]}
    with pytest.raises(ValueError, match=r"yes_no.jsonl lies in a folder named `statements`: its rows measure"):
        JointSources(**given)


def test_a_link_to_statements_is_refused(tmp_path):
    (tmp_path / "statements").mkdir()
    write_rows(tmp_path / "statements" / "rows.jsonl", [{"question": "?", "answer": "yes"}])
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "statements" / "rows.jsonl")
    with pytest.raises(ValueError, match="named `statements`"):
        read_json_lines(tmp_path / "link.jsonl")


@pytest.mark.parametrize("source", ["pope_coco", "valse_existence", "vsr", "vsr_random", "gqa_val_ood_tail", "POPE"])
@pytest.mark.parametrize("file", ["squares/train.jsonl", "texts.jsonl", "captions/captions_human.jsonl"])
def test_rows_that_only_measure_never_enter_training(tmp_path, tokenizer, wordnet, source, file):
    sources = JointSources(**write_joint_data(tmp_path))
    with (tmp_path / file).open("a", encoding="utf-8") as lines:
        row = {
            "image": "squares/00.png",
            "question": "Is there a dog?",
            "answer": "no",
            "captions": [],
            "split": "train",
        }
        lines.write(json.dumps(row | {"source": source}) + "\n")
    with pytest.raises(DataError, match=rf"{file}:\d+: rows of the source '{source}' measure what was learned"):
        joint_data(sources, tokenizer, concepts=12)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b'{"question": "a"}\n\n[1]\n', r":3: a JSON object is expected, not list"),
        (b'{"question": "a"}\n{"question"\n', r":2: not valid JSON"),
        (b'{"answer": "a"}\n', r":1: `question` is missing"),
        (b'{"question": "a", "question": "b"}\n', r":1: .*twice"),
        (b'{"question": "\\ud83d"}\n', r":1: .*half a character"),
        (b'{"question": "\xff"}\n', r"is no UTF-8 text"),
    ],
)
def test_faulty_lines_are_named(tmp_path, content, fault):
    (tmp_path / "rows.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=f"rows.jsonl{fault}|rows.jsonl {fault}"):
        read_json_lines(tmp_path / "rows.jsonl", "question")


def test_gzip_is_read_and_a_damaged_or_missing_one_named(tmp_path):
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"question": "a"}\n'))
    assert read_json_lines(path, "question") == [{"question": "a"}]
    plain = tmp_path / "rows.jsonl"  # a byte order mark, full-width letters and a zero-width space
    plain.write_text('\ufeff{"question": "\uff21\u200b?", "answers": {"\uff12": 3}}\n', encoding="utf-8")
    assert read_json_lines(plain) == [{"question": "A?", "answers": {"2": 3}}]
    path.write_bytes(path.read_bytes()[:-6])
    with pytest.raises(DataError, match=r"rows\.jsonl\.gz is a damaged gzip file"):
        read_json_lines(path)
    with pytest.raises(DataError, match="There is no data file"):
        read_json_lines(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"questions": []}, "questions is empty"),
        ({"texts": [3]}, "texts holds 3"),
        ({"answers": 0}, "answers is 0"),
        ({"captioned": ["other/a"]}, "Two folders are named 'a'"),
    ],
)
def test_sources_are_checked(change, fault):
    with pytest.raises(ValueError, match=fault):
        JointSources(**{"questions": ["some/a"], "captions": "c"} | change)
