"""Replacing a folder: all or nothing, and recovery from a kill between the two renames."""

import itertools
import json
import os
import shutil
from pathlib import Path

import pytest
from safetensors import SafetensorError

from valm_core.checkpoints.atomic_files import (
    clear_leftovers,
    recover_folder,
    replace_folder,
    saving,
    whole_folder,
    write_text,
)


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
    (tmp_path / ".model.old").mkdir()
    (tmp_path / ".model.old" / "file").write_text("old")
    assert recover_folder(tmp_path / "model") == tmp_path / "model"
    assert content(tmp_path) == {"model/file": "old"}


def test_a_kill_after_the_renames_keeps_the_new_content(tmp_path):
    for name in ("model", ".model.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    recover_folder(tmp_path / "model")
    assert content(tmp_path) == {"model/file": "model"}
    assert not (tmp_path / ".model.old").exists()


def test_replacing_after_a_kill_neither_fails_nor_loses_the_old_content_first(tmp_path):
    (tmp_path / ".model.old").mkdir()
    (tmp_path / ".model.old" / "file").write_text("old")
    with pytest.raises(RuntimeError), replace_folder(tmp_path / "model"):
        raise RuntimeError
    assert content(recover_folder(tmp_path / "model")) == {"file": "old"}
    with replace_folder(tmp_path / "model") as fresh:
        (fresh / "file").write_text("new")
    assert content(tmp_path) == {"model/file": "new"}


def test_who_reads_undoes_nothing(tmp_path, monkeypatch):
    (tmp_path / ".model.old").mkdir()
    assert whole_folder(tmp_path / "model") == tmp_path / ".model.old"
    (tmp_path / "model").mkdir()
    assert whole_folder(tmp_path / "model") == tmp_path / "model"
    assert (tmp_path / ".model.old").is_dir()
    monkeypatch.chdir(tmp_path / "model")
    assert whole_folder(".") == Path(".")


def test_folders_of_like_names_are_left_alone(tmp_path):
    kept = [".model.v2.12345678.new", ".model.1234567.new", "model.old", "model.12345678.new"]
    for name in (*kept, ".model.1234abcd.new"):
        (tmp_path / name).mkdir()
    clear_leftovers(tmp_path / "model")
    with replace_folder(tmp_path / "model"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, "model"])


def test_of_a_link_what_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "near").mkdir()
    (tmp_path / "near" / "model").symlink_to(tmp_path / "far" / "model")
    for version in ("one", "two", "three"):
        with replace_folder(tmp_path / "near" / "model") as fresh:
            (fresh / "file").write_text(version)
        assert content(tmp_path / "far") == {"model/file": version}
    assert [path.name for path in (tmp_path / "near").iterdir()] == ["model"]
    assert (tmp_path / "near" / "model").is_symlink()


def test_recovering_nothing_does_nothing(tmp_path):
    recover_folder(tmp_path / "absent")
    assert list(tmp_path.iterdir()) == []


def die_at_call(number: int) -> None:
    """Make this process end, as by kill -9, just before its ``number``-th step that touches the disk."""
    remaining = itertools.count(number, -1)

    def dying(function):
        def call(*arguments, **settings):
            if next(remaining) == 0:
                os._exit(9)
            return function(*arguments, **settings)

        return call

    for owner, name in ((os, "fsync"), (Path, "rename"), (Path, "write_text"), (Path, "mkdir"), (shutil, "rmtree")):
        setattr(owner, name, dying(getattr(owner, name)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_at_any_step_leaves_the_old_or_the_new(tmp_path):
    outcomes = []
    for number in itertools.count():
        folder = tmp_path / str(number) / "model"
        with replace_folder(folder) as fresh:
            (fresh / "file").write_text("old")
        child = os.fork()
        if child == 0:
            die_at_call(number)
            with replace_folder(folder) as fresh:
                (fresh / "file").write_text("new")
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        outcomes.append(content(recover_folder(folder))["file"])
        clear_leftovers(folder)
        assert [path.name for path in folder.parent.iterdir()] == ["model"]
        if status == 0:
            break
    assert len(outcomes) > 6 and outcomes == sorted(outcomes, reverse=True)  # old until some step, new from there on
    assert set(outcomes) == {"old", "new"}


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left"), RuntimeError("unexpected pos"), SafetensorError("I/O")]
)
def test_a_failed_writer_is_told_with_the_name_of_the_folder(error):
    with pytest.raises(OSError, match=r"runs/x/last could not be written \(.*whole.*--resume"), saving("runs/x/last"):
        raise error


def test_a_name_that_is_no_utf_8_ends_no_report(tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    write_text(tmp_path / "report.json", json.dumps({"data": name}, ensure_ascii=False))
    content = (tmp_path / "report.json").read_bytes().decode("utf-8")
    assert content == '{"data": "caf\\udce9.jpg"}' and json.loads(content) == {"data": name}
