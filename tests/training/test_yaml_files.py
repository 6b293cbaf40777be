"""Configs as people save them: what is refused, with its line, and what isn't."""

import pytest
import yaml

from training.run_config import read_config
from training.yaml_files import read_yaml


def test_a_byte_order_mark_is_no_text(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + "run: {data: größe.jsonl}\n".encode())
    assert read_yaml(path) == {"run": {"data": "größe.jsonl"}}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("epochs: 1\nseed: 2\nepochs: 3\n", ":3: 'epochs' is given twice; leave one"),
        ("run:\n  data: a\n  data: b\n", ":3: 'data' is given twice"),
        ("run: {data: a}\nmodel: {width: 8}\nrun: {data: b}\n", ":3: 'run' is given twice"),
    ],
)
def test_a_name_given_twice_is_refused_with_its_line(tmp_path, text, place):
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=f"^{path}{place}"):
        read_yaml(path)
    with pytest.raises(ValueError, match="is given twice"):
        read_config(path, {})
    assert yaml.safe_load(text)  # which takes the last value


def test_the_same_name_in_two_sections_and_a_merge_are_fine(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\n", encoding="utf-8")
    assert read_yaml(path) == {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}}


def test_another_encoding_and_no_yaml_name_the_file(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes("name: größe".encode("latin-1"))
    with pytest.raises(ValueError, match=r"config\.yaml is no UTF-8 text"):
        read_yaml(path)
    path.write_text("run: {data: [")
    with pytest.raises(yaml.YAMLError, match=r"config\.yaml"):
        read_yaml(path)
