"""What people write has one normal form, and names can be told everywhere."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from valm_core.inputs.text import as_listed, clean_text, parse_json, printable, read_text, writable
from valm_core.outputs import InputError


@pytest.mark.parametrize(
    ("written", "cleaned"),
    [
        ("it’s “red”", 'it\'s "red"'),
        ("it´s ‚so‘", "it's 'so'"),  # NFKC alone makes a space and a lone accent of the first
        ("«two»", '"two"'),
        ("black–white — or −5", "black-white - or -5"),
        ("cafe\u0301", "caf\u00e9"),
        ("e\u200b\u0301", "\u00e9"),  # an invisible letter must not keep others apart
        ("ﬁve ｃａｔｓ①", "five cats1"),
        ("½", "1/2"),
        ("re\u00add\u200b\u200e\ufeff ❤\ufe0f", "red ❤"),
        ("\u3164", ""),  # a Hangul filler: a letter to Unicode, nothing to the eye
        ("\ttwo\u00a0\u2003 cats\n\0", "two cats"),
        ("它是什么颜色?", "它是什么颜色?"),
    ],
)
def test_one_form_for_all_ways_to_write_it(written, cleaned):
    assert clean_text(written) == cleaned


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
@example("\u2034\u00b4\u0301 \u1fbd")
@example("=\u200b\u0338")
def test_cleaning_twice_changes_nothing_more(text):
    once = clean_text(text)
    assert clean_text(once) == once


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40))
def test_printable_ascii_only_loses_white_space(text):
    assert clean_text(text) == " ".join(text.split())


def test_half_a_character_is_refused():
    with pytest.raises(InputError, match=r"The answer has half a character at place 4: \\ud83d"):
        clean_text("cat\ud83d", "answer")
    assert clean_text("cat \U0001f600") == "cat \U0001f600"


def test_names_are_shown_as_any_terminal_can():
    assert printable("cafe\u0301.jpg") == "caf\u00e9.jpg"
    assert printable(b"caf\xe9.jpg".decode("utf-8", "surrogateescape")) == r"caf\xe9.jpg"
    assert printable("a\u202egpj.exe\n\x1b[31m") == r"a\u202egpj.exe\x0a\x1b[31m"
    assert printable("\ud83d") == r"\ud83d"


def test_a_name_that_is_no_utf_8_can_be_written():
    assert writable(os.fsdecode(b"caf\xe9.jpg")) == "caf\\udce9.jpg"
    assert writable("cafe\u0301 是.jpg") == "cafe\u0301 是.jpg"
    assert writable(Path("a") / "\ud800") == str(Path("a") / "\\ud800")


def test_a_typed_answer_is_found_in_the_list():
    answers = ["don't know", "t-shirt", "Elvis"]
    assert as_listed("Don’t  Know", answers) == "don't know"
    assert as_listed("T‑shirt", answers) == "t-shirt"
    assert as_listed("Elvis", answers) == "Elvis"


def test_a_byte_order_mark_is_no_text(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf" + b'{"a": 1}')
    assert read_text(path) == '{"a": 1}' and parse_json(path.read_bytes()) == {"a": 1}
    assert parse_json("\ufeff[1]") == [1]


@pytest.mark.parametrize("text", ['{"a": 1, "a": 1}', '[{"b": {"x": 1, "a": 2, "a": 3}}]'])
def test_a_name_given_twice_is_refused(text):
    with pytest.raises(ValueError, match="`a` is given twice; leave one"):
        parse_json(text)
    assert json.loads(text)  # which Python takes


def test_json_that_is_nested_too_deeply_is_a_value_error():
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json("[" * 100_000)
