"""Runs on sentences whose labels follow from how words are written, or from the photo alone; windows and rows."""

import json

import numpy as np
import pytest
from PIL import Image
from task_runs import train_run
from toy_data import write_rows

from training.datasets.readers.jsonl import DataError
from training.datasets.readers.tagged import read_tagged
from training.datasets.tagging import TaggedWindows
from training.evaluate import main as evaluate
from training.train import main as train
from valm_core.checkpoints.storage import load_task_checkpoint
from valm_core.model.tasks.span_labels import mended
from valm_core.tasks.tagger import Tagger


def run_of(data, output, tiny_config, fusion, epochs):
    model = {"task": "tag", "fusion": fusion, "max_question_tokens": 40}
    return train_run(output, tiny_config, data, model, {"epochs": epochs, "early_stopping_patience": 40})


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Words that are a name where they begin with a capital, and so only for a model that sees how they are written."""
    folder, generator = tmp_path_factory.mktemp("tagged"), np.random.default_rng(0)
    for split, count in (("train", 40), ("validation", 12)):
        rows = []
        for _ in range(count):
            names = generator.random(6) < 0.4
            words = [str(word) for word in generator.choice(["red", "what", "color", "blue", "square"], 6)]
            labels = ["O"] * 6
            for place in np.flatnonzero(names):
                labels[place] = "I-NAME" if place and names[place - 1] else "B-NAME"
            rows.append(
                {"tokens": [word.title() if name else word for word, name in zip(words, names, strict=True)]}
                | {"labels": labels}
            )
        write_rows(folder / f"{split}.jsonl", rows)
    return folder


@pytest.fixture(scope="module")
def checkpoint(written, tiny_config, tmp_path_factory):
    return run_of(written, tmp_path_factory.mktemp("run"), tiny_config, "text", 8)


def test_it_learns_from_capitals_and_the_command_measures_what_was_saved(checkpoint, written, capsys):
    evaluate(["--checkpoint", str(checkpoint), "--data", str(written / "validation.jsonl"), "--device", "cpu"])
    table, last = capsys.readouterr().out.rsplit("\n", 2)[:2]
    report = json.loads(last)
    saved = json.loads((checkpoint / "metrics.json").read_text(encoding="utf-8"))
    assert set(report["f1"]) == {"B-NAME", "I-NAME"} and "B-NAME" in table
    assert report["micro_f1"] > 0.95 and report["span_f1"] > 0.95 > saved["before"]["span_f1"]
    assert report["f1"] == pytest.approx(saved["f1"])
    assert "valm-ask" in (checkpoint / "README.md").read_text(encoding="utf-8")


def test_an_explanation_names_the_word_whose_capital_it_learned_from(checkpoint):
    tagged = Tagger.from_checkpoint(checkpoint, "cpu").tag(["red", "what", "Blue", *["square", "red", "what"] * 4])
    (span,) = tagged.spans
    assert (span.first, span.end, span.type, span.text) == (2, 3, "NAME", "Blue")
    assert span.word_scores[2] > 0.3 and span.probability > 0.9 > 0.7 > span.without_itself
    assert np.delete(span.word_scores, [1, 2]).max() < 0.1  # only the word before it tells besides, B from I
    assert span.verdict.startswith("matters")  # of less than eight words, some go in several draws


def test_a_checkpoint_that_tags_is_refused_for_another_task(checkpoint):
    with pytest.raises(ValueError, match="'tag'"):
        load_task_checkpoint(checkpoint, "feel")


def test_every_epoch_has_every_sentence_once_in_as_many_batches(checkpoint, written):
    model = load_task_checkpoint(checkpoint, "tag")
    sentences = read_tagged(str(written / "train.jsonl"))
    batches = TaggedWindows(sentences, model, 8, seed=0)
    shapes = []
    for epoch in (0, 1):
        found = list(batches.epoch(epoch, 0, 0, 1))
        assert len(found) == len(batches) == 5 and sum(rows for rows, _, _ in found) == 40
        labels = sorted(
            tuple(row[mask].tolist())
            for _, _, batch in found
            for row, mask in zip(batch["labels"], batch["word_mask"], strict=True)
        )
        assert labels == sorted(tuple(model.answers.index(label) for label in row.labels) for row in sentences)
        shapes.append([tuple(batch["token_ids"].shape) for _, _, batch in found])
    assert shapes[0] != shapes[1]  # cut anew
    half = list(batches.epoch(0, 3, 0, 1))
    assert [tuple(batch["token_ids"].shape) for _, _, batch in half] == shapes[0][3:]  # where a resumed run goes on
    shares = [list(batches.epoch(0, 0, rank, 2)) for rank in (0, 1)]
    assert all(one[0] == one[1] + other[1] for one, other in zip(*shares, strict=True))


def test_a_photo_tells_what_no_word_does(tiny_config, tmp_path):
    """A word is warm or cold by the photo beside it: half right without, all with."""
    for split, count in (("train", 40), ("validation", 20)):
        rows = []
        for number in range(count):
            warm = number % 2 == 0
            Image.new("RGB", (32, 32), (220, 40 + number, 30) if warm else (30, 40 + number, 220)).save(
                tmp_path / f"{split}{number}.png"
            )
            label = "B-WARM" if warm else "B-COLD"
            rows.append({"tokens": ["the", "square", "is"], "labels": ["O", label, "O"]})
            rows[-1]["image"] = f"{split}{number}.png"
        write_rows(tmp_path / f"{split}.jsonl", rows)
    folder = run_of(tmp_path, tmp_path, tiny_config, "bi_attention", 15)
    figures = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert figures["span_f1"] >= 0.95
    assert figures["without_photo"]["span_f1"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"tokens": ["a", "b"], "labels": ["O"]}, "2 `tokens` but 1 `labels`"),
        ({"tokens": [], "labels": []}, "one at least"),
        ({"tokens": ["a", " "], "labels": ["O", "O"]}, "aren't empty"),
        ({"tokens": "a b", "labels": ["O", "O"]}, "must be a list"),
        ({"tokens": ["a"], "labels": ["PER"]}, "isn't of the form"),
        ({"tokens": ["a"] * 2001, "labels": ["O"] * 2001}, "at most 2000"),
        ({"tokens": ["a"], "labels": ["O"], "image": "none.png"}, "none.png"),
    ],
)
def test_faulty_rows_are_named(row, fault, tmp_path):
    write_rows(tmp_path / "rows.jsonl", [{"tokens": ["fine"], "labels": ["O"]}, row])
    with pytest.raises(DataError, match=fault) as caught:
        read_tagged(str(tmp_path / "rows.jsonl"))
    assert "rows.jsonl:2" in str(caught.value)


def test_check_data_lists_faults_and_an_i_without_its_b_is_read_as_b(written, tmp_path, capsys):
    (row,) = read_tagged(str(write_rows(tmp_path / "ok.jsonl", [{"tokens": ["A", "B"], "labels": ["O", "I-X"]}])))
    assert row.labels == ("O", "B-X") and mended(row.labels) == row.labels
    odd = {
        "tokens": ["\uff30aris", "\u201cx\u201d", "\ufe0f"],
        "labels": ["B-X", "O", "O"],
    }  # full-width, quotes, nothing
    (row,) = read_tagged(str(write_rows(tmp_path / "odd.jsonl", [odd])))
    assert row.tokens == ("Paris", '"x"', "?")
    write_rows(tmp_path / "bad.jsonl", [{"tokens": ["a"], "labels": ["b"]}])
    config = tmp_path / "run.yaml"
    config.write_text(
        f"run:\n  data: {tmp_path}/ok.jsonl\n  validation: {tmp_path}/bad.jsonl\n  output: {tmp_path}\n"
        "model:\n  task: tag\n",
        encoding="utf-8",
    )
    with pytest.raises(SystemExit) as caught:
        train(["--config", str(config), "--check-data"])
    assert caught.value.code == 2 and "bad.jsonl:1" in capsys.readouterr().out
