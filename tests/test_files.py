"""Replacing a folder: all or nothing, and recovery from a kill between the two renames."""

import pytest

from valm_core.files import recover_folder, replace_folder


def content(folder) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_the_new_content_takes_the_place_of_the_old(tmp_path):
    folder = tmp_path / "deep" / "model"
    for version in ("one", "two"):
        with replace_folder(folder) as fresh:
            (fresh / version).write_text(version)
            (fresh / "inside").mkdir()
            (fresh / "inside" / "file").write_text(version)
        assert content(folder) == {version: version, "inside/file": version}
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_an_exception_leaves_the_old_content_whole_and_no_litter(tmp_path):
    folder = tmp_path / "model"
    with replace_folder(folder) as fresh:
        (fresh / "file").write_text("old")
    with pytest.raises(OSError, match="disk full"), replace_folder(folder) as fresh:
        (fresh / "file").write_text("half of the n")
        raise OSError("disk full")
    assert content(tmp_path) == {"model/file": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_kill_between_the_renames_is_recovered(tmp_path):
    (tmp_path / "model.old").mkdir()
    (tmp_path / "model.old" / "file").write_text("old")
    assert recover_folder(tmp_path / "model") == tmp_path / "model"
    assert content(tmp_path) == {"model/file": "old"}


def test_a_kill_after_the_renames_keeps_the_new_content(tmp_path):
    for name in ("model", "model.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    recover_folder(tmp_path / "model")
    assert content(tmp_path) == {"model/file": "model"}
    assert not (tmp_path / "model.old").exists()


def test_replacing_after_a_kill_neither_fails_nor_loses_the_old_content_first(tmp_path):
    (tmp_path / "model.old").mkdir()
    (tmp_path / "model.old" / "file").write_text("old")
    with pytest.raises(RuntimeError), replace_folder(tmp_path / "model"):
        raise RuntimeError
    assert content(recover_folder(tmp_path / "model")) == {"file": "old"}
    with replace_folder(tmp_path / "model") as fresh:
        (fresh / "file").write_text("new")
    assert content(tmp_path) == {"model/file": "new"}


def test_recovering_nothing_does_nothing(tmp_path):
    recover_folder(tmp_path / "absent")
    assert list(tmp_path.iterdir()) == []
