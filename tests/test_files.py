"""Replacing a folder whole or not at all."""

import pytest

from valm_core.files import recover_folder, replace_folder


def write(folder, text):
    with replace_folder(folder) as fresh:
        (fresh / "a.txt").write_text(text)


def test_the_new_content_replaces_the_old(tmp_path):
    write(tmp_path / "model", "old")
    write(tmp_path / "model", "new")
    assert (tmp_path / "model" / "a.txt").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_an_error_leaves_the_old_content_and_no_rest(tmp_path):
    write(tmp_path / "model", "old")
    with pytest.raises(RuntimeError), replace_folder(tmp_path / "model") as fresh:
        (fresh / "a.txt").write_text("half")
        raise RuntimeError
    assert (tmp_path / "model" / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_process_killed_between_the_renames_is_recovered(tmp_path):
    write(tmp_path / "model", "old")
    (tmp_path / "model").rename(tmp_path / "model.old")  # what a kill at the worst moment leaves
    assert (recover_folder(tmp_path / "model") / "a.txt").read_text() == "old"
    assert not (tmp_path / "model.old").exists()


def test_a_process_killed_after_the_renames_keeps_the_new(tmp_path):
    write(tmp_path / "model.old", "old")
    write(tmp_path / "model", "new")
    assert (recover_folder(tmp_path / "model") / "a.txt").read_text() == "new"
    assert not (tmp_path / "model.old").exists()
