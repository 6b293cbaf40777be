"""What a command writes at its end is refused at its start where it can't be written: no work is lost."""

import importlib
import os

import pytest

from valm_core.checkpoints.atomic_files import check_place

REPORTING = {
    "evaluate": "--data none.jsonl",
    "measuring.presence": "--data none.jsonl",
    "measuring.pointing": "a=none.jsonl",
    "measuring.familiarity": "--data none.jsonl --validation none.jsonl",
    "measuring.word_maps": "--data none.jsonl",
    "measuring.faithfulness": "--data none.jsonl",
    "measuring.evidence": "--data none.jsonl",
    "measuring.reranking": "--captioner none --data none.jsonl",
    "export.command": "--output none --data none.jsonl",
}


@pytest.mark.parametrize("module", REPORTING)
def test_a_report_that_is_a_folder_is_refused_before_anything_is_read(module, tmp_path, capsys):
    command = importlib.import_module(f"training.{module}")
    with pytest.raises(SystemExit) as stopped:
        command.main(["--checkpoint", "none", *REPORTING[module].split(), "--report", str(tmp_path)])
    assert stopped.value.code == 2
    assert capsys.readouterr().err == f"{tmp_path} is a folder. Name a file, there or elsewhere.\n"


@pytest.mark.parametrize("module", ["batch_answer", "embed_photos"])
def test_an_output_below_a_file_is_refused(module, tmp_path, capsys):
    (tmp_path / "file").touch()
    command = importlib.import_module(f"training.{module}")
    with pytest.raises(SystemExit) as stopped:
        command.main(["--checkpoint", "none", "--input", "none", "--output", str(tmp_path / "file")])
    assert stopped.value.code == 2 and f"{tmp_path / 'file'} is a file" in capsys.readouterr().err


def test_a_folder_that_may_not_be_written_to_is_named(tmp_path, monkeypatch):
    check_place(tmp_path / "new" / "report.json")  # its folder is made when it is written
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root may write anywhere
    with pytest.raises(PermissionError, match=f"{tmp_path} may not be written to"):
        check_place(tmp_path / "new" / "report.json")
