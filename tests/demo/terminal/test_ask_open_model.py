"""The terminal with an open model: short answers, longer ones word by word, figures, many photos."""

import json
import sys

import pytest
from PIL import Image
from tiny_vision_language import build_tiny

from demo.terminal.ask import main


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The folder of a tiny SmolVLM."""
    return build_tiny("smolvlm", tmp_path_factory.mktemp("open") / "smolvlm")


@pytest.fixture
def photo(tmp_path):
    """A small red photo."""
    Image.new("RGB", (40, 30), (200, 30, 30)).save(tmp_path / "red.png")
    return tmp_path / "red.png"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Texts of at most 40 tokens, and quick evidence."""
    monkeypatch.setattr("valm_core.vision_language.answers.MAX_TEXT_TOKENS", 40)
    monkeypatch.setattr("valm_core.evidence.rules.RANDOM_DRAWS", 2)


def test_a_short_answer_says_what_its_percentages_are_worth_and_is_drawn(model, photo, tmp_path, capsys):
    figure = tmp_path / "out.pdf"
    main([str(photo), "what is it?", "--checkpoint", str(model), "--device", "cpu", "--figure", str(figure)])
    printed = capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        main([str(photo), "what is it?", "--checkpoint", str(model), "--device", "cpu", "--figure", "a.nothing"])
    assert "The figure can't be written" in capsys.readouterr().err
    assert "not calibrated" in printed.out and "measured on another model" in printed.out
    assert figure.read_bytes().startswith(b"%PDF")
    pdfium = pytest.importorskip("pypdfium2", reason="the extra `read` isn't installed")
    with pdfium.PdfDocument(figure) as opened:
        (page,) = opened
        text = page.get_textpage().get_text_range()
    assert "what is it? – where it looked for" in text and "SmolVLM, float32 · percentages not calibrated" in text


def test_a_longer_answer_comes_word_by_word_where_people_look_and_whole_where_programs_do(
    model, photo, capsys, monkeypatch
):
    command = [
        str(photo),
        "what is it?",
        "--checkpoint",
        str(model),
        "--device",
        "cpu",
        "--prompt",
        "{image}{question}",
    ]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    main(command)
    printed = capsys.readouterr()
    text = printed.out.splitlines()[1]
    told = " ".join(printed.err.rpartition("it/s]")[2].split())  # behind transformers' own bar
    assert len(text.split()) > 1 and told and " ".join(text.split()).startswith(told)
    assert "Each of its pieces was" in printed.out and " %  " not in printed.out  # no bars
    main([*command, "--json"])
    printed = capsys.readouterr()
    reply = json.loads(printed.out)
    assert told not in printed.err and reply["answers"][0]["answer"] == text
    assert reply["explanation"]["words"] == ["what", "is", "it?", *text.split()]
    assert reply["evidence"]["own_thresholds"] is False


def test_many_photos_are_not_gone_on_with_by_another_prompt(model, photo, tmp_path, capsys):
    output = tmp_path / "answers.jsonl"
    command = ["--batch", str(photo.parent), "--question", "what is it?", "--output", str(output)]
    command += ["--checkpoint", str(model), "--device", "cpu"]
    with pytest.raises(SystemExit) as ended:
        main(command)
    (row,) = map(json.loads, output.read_text().splitlines())
    assert ended.value.code == 0 and row["error"] is None and row["predicted"]
    with pytest.raises(SystemExit) as refused:
        main([*command, "--prompt", "{image}{question}"])
    assert refused.value.code == 2 and "model" in capsys.readouterr().err
