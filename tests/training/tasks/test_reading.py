"""A run on drawn receipts: the total is what stands beside its word, wherever that is; faulty rows; pages by OCR."""

import json

import numpy as np
import pytest
from PIL import Image
from task_runs import train_run
from toy_data import write_rows

from training.datasets import reading
from training.datasets.readers.documents import OCR, documents_fingerprint, read_documents
from training.datasets.readers.jsonl import DataError
from training.evaluate import main as evaluate
from valm_core.checkpoints.storage import load_task_checkpoint
from valm_core.inputs.page import Line
from valm_core.outputs import InputError
from valm_core.tasks.reader import Reader


def receipt(generator) -> tuple[list, str, str]:
    """Lines of a page with two amounts, one of them beside "red", the other beside "blue", and both."""
    amounts = [f"{generator.integers(10, 99)}.{generator.integers(10, 99)}" for _ in range(2)]
    rows = generator.permutation([0.2, 0.4, 0.6, 0.8])[:2]
    lines = [[0.1, 0.05, 0.8, 0.08, "the square"]]
    for name, amount, top in zip(("red", "blue"), amounts, rows, strict=True):
        lines += [[0.1, top, 0.3, top + 0.04, name], [0.6, top, 0.8, top + 0.04, amount]]
    return [lines[place] for place in generator.permutation(len(lines))], *amounts


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder, generator = tmp_path_factory.mktemp("receipts"), np.random.default_rng(1)
    Image.new("RGB", (30, 40), "white").save(folder / "page.png")
    for split, count in (("train", 300), ("validation", 20)):
        rows, words = [], []
        for number in range(count):
            lines, red, blue = receipt(generator)
            name = f"{split}{number}.png"
            Image.new("RGB", (3, 4), "white").save(folder / name)
            words.append({"image": name, "lines": lines})
            rows.append({"image": name, "question": "what is red", "answer": red, "field": "red"})
            rows.append({"image": name, "question": "what is blue", "answer": f"RM {blue}"[3:], "field": "blue"})
        write_rows(folder / f"{split}.jsonl", rows)
        write_rows(folder / f"words_{split}.jsonl", words)
    return folder


@pytest.fixture(scope="module")
def checkpoint(data, tiny_config, tmp_path_factory):
    model = {"task": "read", "width": 32, "heads": 4, "layers": 2, "max_question_tokens": 16}
    training = {"batch_size": 12, "learning_rate": 0.005, "warmup_steps": 5, "early_stopping_patience": 12}
    return train_run(tmp_path_factory.mktemp("run"), tiny_config, data, model, training)


def test_it_learns_what_stands_beside_what_and_the_command_measures_it(checkpoint, data, capsys):
    evaluate(["--checkpoint", str(checkpoint), "--data", str(data / "validation.jsonl"), "--device", "cpu"])
    report = json.loads(capsys.readouterr().out.strip().rsplit("\n", 1)[1])
    saved = json.loads((checkpoint / "metrics.json").read_text(encoding="utf-8"))
    assert set(report["exact_match"]) == set(report["f1"]) == {"red", "blue"}
    assert report["mean_exact_match"] >= 0.9 > 0.5 > saved["before"]["mean_exact_match"]
    assert report["on_the_page"] == 1.0 and report["exact_match"] == saved["exact_match"]


def test_an_answer_names_the_line_it_rests_on(checkpoint):
    generator = np.random.default_rng(5)
    lines, red, _ = receipt(generator)
    reader = Reader.from_checkpoint(checkpoint, "cpu")
    page = reader.open_lines([Line(tuple(line[:4]), line[4]) for line in lines])
    answer = reader.ask(page, "what is red")
    assert answer.text == red and answer.probability > 0.5
    (own,) = [line for line in lines if line[4] == red]
    assert answer.boxes == pytest.approx(np.array([own[:4]]), abs=1e-5)
    texts = [" ".join(words) for words in page.page.words_of_lines()]
    assert texts[int(answer.line_scores.argmax())] in ("red", "blue")
    assert answer.line_scores[texts.index(red)] == 0  # its own line stays
    assert answer.others and all(text != red for text, _ in answer.others)
    assert answer.verdict in ("matters", "matters a little", "no difference", "cannot tell")
    assert reader.ask(page, "what is red", explain=False).verdict == ""
    with pytest.raises(InputError, match="empty"):
        reader.ask(page, "?")


def test_pages_whose_words_are_not_given_are_read(checkpoint, data, monkeypatch, tmp_path):
    lines, red, _ = receipt(np.random.default_rng(9))
    told = {"train0.png": tuple(Line(tuple(line[:4]), line[4]) for line in lines), "train1.png": ()}
    monkeypatch.setattr(reading, "read_lines", lambda image: (told[image.name], 0))
    rows = [
        {"image": str(data / name), "question": "what is red", "answer": red} for name in ("train0.png", "train1.png")
    ]
    source = OCR + str(write_rows(tmp_path / "rows.jsonl", rows))
    from training.tasks.reading import measure_rows

    figures = measure_rows(load_task_checkpoint(checkpoint, "read"), read_documents(source))
    assert figures["pages"] == 2  # the second has no word: whatever is asked, "" is wrong
    assert figures["exact_match"] == {"all": 0.5} and figures["on_the_page"] == 0.5


def test_given_words_stand_in_the_row_or_beside_the_file(data, tmp_path):
    (row,) = read_documents(
        str(
            write_rows(
                tmp_path / "own.jsonl", [{"question": "what?", "answers": ["a", "b"], "words": [[0, 0, 1, 1, "a"]]}]
            )
        )
    )
    assert row.lines == (Line((0.0, 0.0, 1.0, 1.0), "a"),) and row.image is None and row.answers == ("a", "b")
    given = read_documents(str(data / "train.jsonl"))[0]
    assert given.lines and given.field == "red"
    unread = read_documents(OCR + str(data / "train.jsonl"))
    assert unread[0].lines is None
    before = documents_fingerprint(unread)
    Image.new("RGB", (30, 30), "gray").save(unread[0].image)  # OCR would read another page
    assert documents_fingerprint(unread) != before


def test_answers_are_in_one_form_as_the_pages_are(tmp_path):
    written = {
        "question": "what?",
        "answer": "Cafe\u0301 \uff11\uff12",
        "words": [[0, 0, 1, 1, "a"]],
    }  # NFD, full-width
    assert read_documents(str(write_rows(tmp_path / "own.jsonl", [written])))[0].answers == ("Café 12",)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"image": "page.png", "question": "what?"}, "a text is needed"),
        ({"image": "page.png", "question": "what?", "answer": "a", "words": "a b"}, "list of lines"),
        ({"image": "page.png", "question": "what?", "answer": "a", "words": [[0, 0, 1, "a"]]}, "x0, y0, x1, y1"),
        ({"image": "none.png", "question": "what?", "answer": "a"}, "none.png"),
        ({"image": "page.png", "question": 5, "answer": "a"}, "`question` must be a text"),
    ],
)
def test_faulty_rows_are_named(row, fault, data, tmp_path):
    (tmp_path / "page.png").write_bytes((data / "page.png").read_bytes())
    write_rows(tmp_path / "rows.jsonl", [{"image": "page.png", "question": "what?", "answer": "a"}, row])
    with pytest.raises(DataError, match=fault) as caught:
        read_documents(str(tmp_path / "rows.jsonl"))
    assert "rows.jsonl:2" in str(caught.value)
