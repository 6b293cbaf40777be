"""Rows of labelled texts: every form that is read, every fault that is named, marked parts by token."""

import numpy as np
import pytest
from PIL import Image
from toy_data import write_rows

from training.datasets.check_data import check_data
from training.datasets.readers.jsonl import DataError
from training.datasets.readers.labelled import read_labelled_texts, scan_labelled_texts
from training.metrics.label_figures import confusion, label_figures, relation_figures
from training.tasks.classifying import statements_of_captions
from valm_core.inputs.marked_text import marked_text, span_masks


def test_all_forms_of_rows_are_read(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    rows = [
        {"text": "a  “post”", "label": "good", "image": "a.png"},
        {"statement": "It is on the left.", "label": True, "relation": "left of", "pair": "1", "source": "vsr"},
        {"tokens": ["the", "​", "red\u00a0one"], "first": [0, 1], "second": [2, 3], "relation": "None"},
    ]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    post, statement, tokens = read_labelled_texts(str(path), "feel")
    assert post.words == ("a", '"post"')
    assert post.image == tmp_path / "a.png"
    assert (statement.label, statement.pair, statement.source, statement.image) == ("true", "1", "vsr", None)
    assert (tokens.words, tokens.label, tokens.spans) == (("the", "?", "redone"), "None", ())
    with pytest.raises(DataError, match=r"rows.jsonl:1: `first` is None"):
        read_labelled_texts(str(path), "relate")


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"label": "a"}, "one of `text`, `statement`, `tokens` is needed, not 0"),
        ({"text": "a", "tokens": ["a"], "label": "a"}, "not 2 of them"),
        ({"text": 3, "label": "a"}, "`text` is 3"),
        ({"tokens": [], "label": "a"}, r"`tokens` is \[\]"),
        ({"text": "a"}, "`label` is None; a text is needed, or true or false"),
        ({"text": "a", "label": 1}, "`label` is 1"),
        ({"text": "a", "label": "b", "image": "none.png"}, "there is no photo"),
        ({"text": "a b", "label": "b", "first": [0, 3], "second": [0, 1]}, r"`first` is \[0, 3\].*2 words"),
        ({"text": "a b", "label": "b", "first": [0, 1], "second": [True, 2]}, r"`second` is \[True, 2\]"),
    ],
)
def test_faults_are_named_with_their_line_and_listed_by_check_data(tmp_path, capsys, row, fault):
    path = str(write_rows(tmp_path / "rows.jsonl", [row]))
    with pytest.raises(DataError, match=rf"rows.jsonl:1: {fault}|rows.jsonl:1: .*{fault}"):
        read_labelled_texts(path, "relate")
    assert check_data([path], scan=lambda source: scan_labelled_texts(source, "relate")) == 2
    assert "1 fault\n" in capsys.readouterr().out


def test_marked_parts_are_found_by_token(tiny_model):
    words = ("what", "is", "reds", "there", "blue")
    text, places = marked_text(words, [(2, 4), (4, 5)])
    assert text == "what is $ reds there $ ^ blue ^"
    assert places == [0, 1, None, 2, 3, None, None, 4, None]
    masks = span_masks(tiny_model.tokenizer, words, [(2, 4), (4, 5)])
    pieces = tiny_model.tokenizer.tokenizer.convert_ids_to_tokens(tiny_model.tokenizer([text])[0][0].tolist())
    marked = [[piece for piece, inside in zip(pieces, mask, strict=True) if inside] for mask in masks]
    assert marked == [["red", "##s", "there"], ["blue"]]
    cut = span_masks(tiny_model.tokenizer, words, [(2, 4), (4, 5)], 8)
    assert np.flatnonzero(cut[1]).tolist() == [0]
    with pytest.raises(ValueError, match="0 <= first < end <= 5"):
        marked_text(words, [(3, 6)])


def test_figures_equal_scikit_learns():
    from sklearn.metrics import f1_score

    generator = np.random.default_rng(0)
    truth, said = (generator.choice(["None", "a", "b", "c"], 200).tolist() for _ in range(2))
    said[:60] = truth[:60]
    figures = label_figures(truth, said) | relation_figures(truth, said)
    assert figures["macro_f1"] == pytest.approx(f1_score(truth, said, average="macro"))
    assert figures["micro_f1"] == pytest.approx(f1_score(truth, said, average="micro", labels=["a", "b", "c"]))
    assert figures["accuracy"] == pytest.approx(np.mean(np.array(truth) == np.array(said)))
    assert figures["f1"]["a"] == pytest.approx(f1_score(truth, said, average=None, labels=["a"])[0])
    counts = confusion(truth, said)
    assert sum(sum(row.values()) for row in counts.values()) == 200
    always = figures["always_commonest"]
    assert always["accuracy"] == truth.count(always["label"]) / 200


def test_captions_become_statements_that_a_photo_supports_or_contradicts(tmp_path):
    rows = []
    for place in range(6):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{place}.png")
        rows.append({"image": f"{place}.png", "captions": [f"photo {place}", f"number {place}"]})
    path = write_rows(tmp_path / "captions.jsonl", rows)
    made = statements_of_captions(str(path), 0, {tmp_path / "5.png"})
    assert len(made) == 10
    for row in made:
        assert (row.image.stem == row.words[1]) == (row.label == "entailment")
        assert row.words[1] != "5"
    assert statements_of_captions(str(path), 4, set()) == statements_of_captions(str(path), 4, set())
    assert [row.label for row in made].count("contradiction") == 5
