"""Answering many questions from the terminal: same answers, nothing asked twice, nothing lost, faults told by row."""

import json
import os
import shlex
import sys
import unicodedata
from pathlib import Path

import pytest
from patience import PATIENCE
from PIL import Image
from toy_data import write_rows

from demo.terminal import batch
from demo.terminal.ask import main
from demo.terminal.batch import answer_batch
from demo.terminal.batch_files import ADDED_LATER
from training.datasets.readers.jsonl import read_rows
from valm_core import bulk
from valm_core.inputs import photo
from valm_core.inputs.photo import PHOTO_FORMATS

ROOT = Path(__file__).parents[3]
QUESTIONS = ["what color is the square?", "is there any red?"]


@pytest.fixture
def source(tmp_path):
    """Two photos and a file of questions that jumps between them, with a column of its own and a repeated question."""
    for name in ("red", "blue"):
        Image.new("RGB", (40, 30), name).save(tmp_path / f"{name}.png")
    rows = [
        {"image": "red.png", "question": QUESTIONS[0], "answer": "red", "id": 7},
        {"image": "blue.png", "question": QUESTIONS[0], "answer": "blue"},
        {"image": "red.png", "question": QUESTIONS[1], "answer": "yes"},
        {"image": "red.png", "question": QUESTIONS[0], "answer": "crimson"},
    ]
    return write_rows(tmp_path / "questions.jsonl", rows)


@pytest.fixture
def counted(tiny_predictor, monkeypatch):
    """The tiny predictor, and lists of what it was given: photos encoded at once, questions answered at once."""
    given = {"encode_many": [], "answer_many": []}
    for name, sizes in given.items():
        original = getattr(tiny_predictor, name)

        def counting(*arguments, original=original, sizes=sizes):
            result = original(*arguments)
            sizes.append(len(result))
            return result

        monkeypatch.setattr(tiny_predictor, name, counting)
    return tiny_predictor, given


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_answers_are_those_of_one_by_one_in_the_inputs_order(counted, source, tmp_path):
    predictor, given = counted
    summary = answer_batch(predictor, source, tmp_path / "out.jsonl", top=3, model="abc")
    assert given == {"encode_many": [2], "answer_many": [3]}  # each photo once, and a repeated question once
    rows = lines(tmp_path / "out.jsonl")
    assert [row["answer"] for row in rows] == ["red", "blue", "yes", "crimson"] and rows[0]["id"] == 7
    assert (summary.rows, summary.errors, summary.answered) == (4, 0, 3)
    for row in rows:
        expected = predictor.answer(predictor.encode(tmp_path / row["image"]), row["question"], 3)
        assert [entry["answer"] for entry in row["predictions"]] == [answer.text for answer in expected.answers]
        assert row["probability"] == pytest.approx(expected.answers[0].probability, rel=1e-4)
        assert row["blind_predicted"] == expected.blind_answers[0].text and row["predicted"] == expected.answers[0].text
        assert row["gate"] == pytest.approx(expected.gate, rel=1e-4)
        assert row["unfamiliar"] == ""
        assert row["error"] is None and row["model"] == "abc"


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_a_killed_run_goes_on_and_ends_like_an_uninterrupted_one(counted, source, tmp_path, monkeypatch, ending):
    predictor, given = counted
    monkeypatch.setattr(bulk, "PHOTOS_AT_ONCE", 1)  # by other groups of photos the last digits can differ
    answer_batch(predictor, source, tmp_path / f"whole{ending}")
    output = tmp_path / f"out{ending}"
    working = output if ending == ".jsonl" else tmp_path / "out.parquet.partial.jsonl"

    real = predictor.encode_many
    monkeypatch.setattr(predictor, "encode_many", stop_after(1, real))
    with pytest.raises(KeyboardInterrupt):
        answer_batch(predictor, source, output)
    assert [row["image"] for row in lines(working)] == ["red.png"] * 3  # whole lines of the first photo
    with working.open("a") as file:
        file.write('{"image": "blue.png", "quest')  # a kill in the middle of a line

    monkeypatch.setattr(predictor, "encode_many", real)
    given["answer_many"].clear()
    summary = answer_batch(predictor, source, output)
    assert given["answer_many"] == [1] and summary.answered == 1
    assert output.read_bytes() == (tmp_path / f"whole{ending}").read_bytes()
    assert not list(tmp_path.glob("*.partial.jsonl"))
    given["answer_many"].clear()
    assert answer_batch(predictor, source, output).answered == 0 and given["answer_many"] == []
    assert output.read_bytes() == (tmp_path / f"whole{ending}").read_bytes()


def stop_after(count: int, function):
    """The function, which a Ctrl-C interrupts after so many calls."""
    calls = []

    def stopping(*arguments):
        if len(calls) == count:
            raise KeyboardInterrupt
        calls.append(arguments)
        return function(*arguments)

    return stopping


def test_bad_rows_say_why_and_stop_nothing(tiny_predictor, source, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no photo")
    with source.open("a") as file:
        for bad in (
            '{"image": "gone.png", "question": "what?"}',
            '{"image": "broken.png", "question": "what?"}',
            f'{{"image": "red.png", "question": "{"what " * 40}"}}',
            '{"image": "red.png", "question": " "}',
            '{"image": "red.png", "id": 9}',
            "no json",
            "[1]",
            json.dumps({"image": "x" * 5000, "question": "what?"}),
            '{"image": "red\\u0000.png", "question": "what?"}',
        ):
            file.write(bad + "\n")
    output = tmp_path / "out.jsonl"
    summary = answer_batch(tiny_predictor, source, output)
    rows = lines(output)
    assert summary.errors == 9 and [row["error"] for row in rows[:4]] == [None] * 4
    messages = (
        "no file",
        "can't be read",
        "too long",
        "empty",
        "line 9 has no text as question",
        "line 10 is",
        "line 11 is",
    )
    for row, message in zip(rows[4:], messages, strict=False):
        assert message in row["error"] and row["predicted"] is None and row["predictions"] == []
    assert rows[8]["id"] == 9

    Image.new("RGB", (9, 9), "red").save(tmp_path / "gone.png")  # mended: only what had failed is tried again
    again = answer_batch(tiny_predictor, source, output)
    assert (again.answered, again.errors, len(lines(output))) == (1, 8, 13)


def test_a_file_as_people_save_it_is_read_and_its_faulty_rows_are_told(tiny_predictor, source, tmp_path):
    plain = source.read_bytes()
    bad = [
        b'{"image": "red.png", "question": "what?", "question": "is there any?"}',
        b'{"image": "red.png", "question": "gr\xf6\xdfe?"}',
        b'{"image": "red.png", "question": "what \\ud83d?"}',
        b'{"image": "caf\\udce9.png", "question": "what?"}',
    ]
    typed = '{"image": "red.png", "question": "what\u2019s\u200b the [SEP] color?"}'.encode()
    source.write_bytes(b"\xef\xbb\xbf" + plain + b"\r\n".join([*bad, typed]))
    output = tmp_path / "out.jsonl"
    summary = answer_batch(tiny_predictor, source, output)
    rows = lines(output)
    assert (summary.rows, summary.errors) == (9, 4) and all(row["predicted"] for row in [*rows[:4], rows[8]])
    messages = ("line 5: `question` is given twice", "line 6 is no UTF-8 text", "line 7 has half a", "There is no file")
    for row, message in zip(rows[4:8], messages, strict=True):
        assert message in row["error"]
    encoded = tiny_predictor.encode(tmp_path / "red.png")
    expected = tiny_predictor.answer(encoded, "what's the [SEP] color?")
    assert rows[8]["probability"] == pytest.approx(expected.answers[0].probability, rel=1e-4)


def test_a_folder_asks_every_photo_every_question(tiny_predictor, source, tmp_path):
    (tmp_path / "inner").mkdir()
    Image.new("RGB", (40, 30), "green").save(tmp_path / "inner" / "green.JPG", "JPEG")
    output = tmp_path / "made" / "out.jsonl"
    answer_batch(tiny_predictor, tmp_path, output, QUESTIONS)
    asked = [(row["image"], row["question"]) for row in lines(output)]
    assert asked == [(name, text) for name in ("blue.png", "inner/green.JPG", "red.png") for text in QUESTIONS]


def test_rows_of_an_earlier_input_stay(tiny_predictor, source, tmp_path):
    output = tmp_path / "out.jsonl"
    answer_batch(tiny_predictor, source, output)
    other = write_rows(tmp_path / "more.jsonl", [{"image": "blue.png", "question": QUESTIONS[1]}])
    assert answer_batch(tiny_predictor, other, output).answered == 1
    assert [row["image"] for row in lines(output)] == ["blue.png", "red.png", "blue.png", "red.png", "red.png"]


def test_what_cannot_be_used_is_told_before_anything_is_asked(tiny_predictor, source, tmp_path):
    before = source.read_bytes()

    def refused(match, *arguments, **named):
        with pytest.raises(ValueError, match=match):
            answer_batch(tiny_predictor, *arguments, **named)

    refused("must end in .jsonl or .parquet", source, tmp_path / "out.csv")
    refused("no file or folder", tmp_path / "nowhere", tmp_path / "out.jsonl")
    refused("--output is the file of the questions", source, source)
    refused("no output of --batch", source, write_rows(tmp_path / "mine.jsonl", [{"image": "a", "question": "b"}]))
    refused("say what to ask", tmp_path, tmp_path / "out.jsonl")
    refused("brings its own questions", source, tmp_path / "out.jsonl", questions=["what?"])
    (tmp_path / "empty").mkdir()
    refused("has no photos", tmp_path / "empty", tmp_path / "out.jsonl", questions=["what?"])
    answer_batch(tiny_predictor, source, tmp_path / "out.jsonl", model="abc")
    refused("answers of model abc, and this is model def", source, tmp_path / "out.jsonl", model="def")
    assert source.read_bytes() == before and (tmp_path / "mine.jsonl").read_text().count("\n") == 1


def test_parquet_has_typed_columns_and_odd_ones_as_text(tiny_predictor, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    rows = [{"image": "a.png", "question": QUESTIONS[0], "odd": 1}, {"image": "b.png", "question": "x", "odd": "two"}]
    answer_batch(tiny_predictor, write_rows(tmp_path / "q.jsonl", rows), tmp_path / "out.parquet")
    table = parquet.read_table(tmp_path / "out.parquet")
    assert str(table.schema.field("probability").type) == "double" and str(table.schema.field("error").type) == "string"
    assert table.column("odd").to_pylist() == ["1", '"two"']
    assert table.column("predictions").to_pylist()[0][0]["answer"] == table.column("predicted").to_pylist()[0]


def test_without_pyarrow_parquet_is_refused_with_the_remedy(tiny_predictor, source, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ValueError, match="pip install pyarrow"):
        answer_batch(tiny_predictor, source, tmp_path / "out.parquet")


def test_the_terminal_refuses_what_does_not_belong_together(capsys):
    for arguments in (["--batch", "x"], [], ["photo.jpg"], ["photo.jpg", "what?", "--output", "x.jsonl"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
    assert "--batch" in capsys.readouterr().err


def test_the_command_of_the_docs_runs_and_its_exit_code_tells(forks, tmp_path):
    """With the shipped checkpoint, as a person runs it."""
    shown = (ROOT / "docs" / "page.md").read_text(encoding="utf-8")
    command = next(line for line in shown.splitlines() if "--batch" in line).split("python ", 1)[1]
    output = tmp_path / "answers.jsonl"
    words = shlex.split(command.replace("answers.jsonl", str(output)))
    done = forks.run(words, timeout=PATIENCE)
    rows = lines(output)
    assert done.returncode == 0 and len(rows) == 8 and "8 rows, 0 of them with an error" in done.stderr
    assert next(row["predicted"] for row in rows if row["image"] == "cat.jpg") == "cat"


def test_a_folder_as_people_have_it(tiny_predictor, tmp_path, capsys):
    """Every ending that Pillow opens is answered, companions are passed over, what is left out is told."""
    folder = tmp_path / "phone"
    (folder / "__MACOSX").mkdir(parents=True)
    red = Image.new("RGB", (40, 30), "red")
    for name, kind in (("a.jfif", "JPEG"), ("b.jpe", "JPEG"), ("c.mpo", "MPO"), ("d.JPG", "JPEG")):
        red.save(folder / name, kind)
    expected = ["a.jfif", "b.jpe", "c.mpo", "d.JPG"]
    if "AVIF" in PHOTO_FORMATS:
        red.save(folder / "e.avif")
        expected.append("e.avif")
    for place in ("@eaDir/d.JPG", ".thumbnails", "$RECYCLE.BIN"):
        (folder / place).mkdir(parents=True)
        red.save(folder / place / "small.jpg")
    for name in ("._a.jfif", ".DS_Store", "Icon\r", "__MACOSX/a.jpg", "notes.txt", "more.TXT", "clip.mov", "plain"):
        (folder / name).write_bytes(b"x")
    answer_batch(tiny_predictor, folder, folder / "answers.jsonl", QUESTIONS[:1])  # the output isn't told as left out
    summary = answer_batch(tiny_predictor, folder, folder / "answers.jsonl", QUESTIONS[:1])
    rows = lines(folder / "answers.jsonl")
    assert [row["image"] for row in rows] == expected and all(row["error"] is None for row in rows)
    assert summary.left_out == {".txt": 2, ".mov": 1, "": 1}
    assert str(summary).endswith(" Left out: 2 .txt, 1 .mov, 1 without an ending.")


def test_a_question_that_is_no_text_is_refused_before_anything_is_written(tiny_predictor, source, tmp_path):
    """What a terminal that isn't set to UTF-8 hands over."""
    with pytest.raises(ValueError, match=r"caf\\\\xe9.*UTF-8"):
        answer_batch(tiny_predictor, source.parent, tmp_path / "made.jsonl", ["what", "caf\udce9?"])
    assert not (tmp_path / "made.jsonl").exists()


def test_numbers_of_any_size_become_parquet(tiny_predictor, source, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{"image": "red.png", "question": QUESTIONS[0], "number": 10**30}]
    output = tmp_path / "out.parquet"
    answer_batch(tiny_predictor, write_rows(tmp_path / "big.jsonl", rows), output)
    assert parquet.read_table(output).to_pylist()[0]["number"] == str(10**30)


def test_photos_that_need_a_package_are_told_with_it(tiny_predictor, tmp_path, monkeypatch):
    without = tuple(ending for ending in photo.PHOTO_ENDINGS if ending not in (".heic", ".heif", ".hif"))
    monkeypatch.setattr(photo, "PHOTO_ENDINGS", without)  # as where pillow-heif isn't installed
    (tmp_path / "a.HEIC").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"has no photos .*Left out: 1 \.heic\. For \.heic: pip install pillow-heif\."):
        answer_batch(tiny_predictor, tmp_path, tmp_path / "out.jsonl", QUESTIONS)


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_a_name_that_is_no_utf_8_is_answered_once_and_written_in_letters(tiny_predictor, tmp_path, ending):
    if ending == ".parquet":
        pytest.importorskip("pyarrow.parquet")
    folder = tmp_path / "photos"
    folder.mkdir()
    odd = os.fsdecode(b"caf\xe9")
    try:
        Image.new("RGB", (40, 30), "red").save(folder / f"{odd}.png")
    except OSError:
        pytest.skip("this disk takes no such name")
    (folder / f"{odd} too.png").write_bytes(b"no photo")
    Image.new("RGB", (40, 30), "red").save(folder / "z.png")
    output = tmp_path / f"out{ending}"
    summary = answer_batch(tiny_predictor, folder, output, QUESTIONS[:1])
    assert (summary.rows, summary.errors, summary.answered) == (3, 1, 2)
    if ending == ".jsonl":
        rows = lines(output)  # as UTF-8
        assert [row["image"] for row in rows] == ["caf\\udce9 too.png", "caf\\udce9.png", "z.png"]
        assert "caf\\xe9 too.png can't be read" in rows[0]["error"] and rows[1]["predicted"] == rows[2]["predicted"]
    assert answer_batch(tiny_predictor, folder, output, QUESTIONS[:1]).answered == 0

    # The same by a file of rows, as Python's json writes such a name.
    asked = [{"image": f"photos/{odd}.png", "question": QUESTIONS[0], "note \ud800": ["half \udfff"]}]
    source = write_rows(tmp_path / "q.jsonl", asked)
    other = tmp_path / f"other{ending}"
    assert str(answer_batch(tiny_predictor, source, other)).startswith("1 rows, 0 of them with an error; 1 ")
    assert answer_batch(tiny_predictor, source, other).answered == 0
    if ending == ".jsonl":
        (row,) = lines(other)
        assert row["image"] == "photos/caf\\udce9.png" and row["note \\ud800"] == ["half \\udfff"]


def test_another_top_or_another_photo_of_the_same_name_is_refused_and_nothing_is_lost(tiny_predictor, source, tmp_path):
    output = tmp_path / "out.jsonl"
    answer_batch(tiny_predictor, source, output, top=2, model="abc")
    before = output.read_bytes()
    assert {row["top"] for row in lines(output)} == {2}
    with pytest.raises(ValueError, match=r"holds the 2 likeliest answers a row, and --top is 3\."):
        answer_batch(tiny_predictor, source, output, top=3, model="abc")
    Image.new("RGB", (50, 40), (9, 9, 9)).save(tmp_path / "red.png")
    with pytest.raises(ValueError, match=r"another red\.png than lies in .* Name another file, or delete"):
        answer_batch(tiny_predictor, source, output, top=2, model="abc")
    assert output.read_bytes() == before


def test_answers_of_photos_that_were_read_otherwise_are_not_gone_on_with(tiny_predictor, source, tmp_path, monkeypatch):
    output = tmp_path / "out.jsonl"
    answer_batch(tiny_predictor, source, output)
    before = output.read_bytes()
    monkeypatch.setattr(batch, "PREPROCESSING", "99.1")
    with pytest.raises(ValueError, match=r"answers of an earlier version, .* now 99\.1\)\. Name another file"):
        answer_batch(tiny_predictor, source, output)
    assert output.read_bytes() == before


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_name_is_found_in_either_unicode_form(tiny_predictor, tmp_path, form):
    """macOS stores names decomposed, and what lists them composes them: both look alike."""
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    folder = tmp_path / unicodedata.normalize(form, "é")
    folder.mkdir()
    Image.new("RGB", (40, 30), "red").save(folder / f"{unicodedata.normalize(form, 'café')}.png")
    name = unicodedata.normalize(other, "é/café.png")
    source = write_rows(tmp_path / "rows.jsonl", [{"image": name, "question": "what color?", "answer": "red"}])
    assert answer_batch(tiny_predictor, source, tmp_path / "out.jsonl").errors == 0
    assert photo.open_photo(tmp_path / name).size == (40, 30)
    assert read_rows(source)[0].image.name == unicodedata.normalize(form, "café.png")


def test_utf_16_is_read_and_an_array_refused(tiny_predictor, source, tmp_path):
    text = source.read_text(encoding="utf-8")
    source.write_bytes(text.encode("utf-16"))  # as PowerShell's > writes it
    assert answer_batch(tiny_predictor, source, tmp_path / "out.jsonl").errors == 0
    source.write_text("[" + ",\n".join(text.splitlines()) + "]", encoding="utf-8")
    with pytest.raises(ValueError, match="is one JSON array"):
        answer_batch(tiny_predictor, source, tmp_path / "other.jsonl")
    assert not (tmp_path / "other.jsonl").exists()


def test_an_output_of_an_earlier_version_is_gone_on_with(tiny_predictor, source, tmp_path):
    output = tmp_path / "out.jsonl"
    answer_batch(tiny_predictor, source, output, model="abc")
    old = [{name: value for name, value in row.items() if name not in ADDED_LATER} for row in lines(output)]
    output.write_text("".join(json.dumps(row) + "\n" for row in old), encoding="utf-8")
    assert answer_batch(tiny_predictor, source, output, model="abc").answered == 0
