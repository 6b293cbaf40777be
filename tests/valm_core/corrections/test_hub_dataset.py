"""Corrections in a dataset of the hub: uploaded once and whole, read back, deleted with history. The hub is fake."""

import sqlite3
from concurrent.futures import Future
from contextlib import closing
from types import SimpleNamespace

import pytest
from PIL import Image
from toy_data import age_corrections

from training.corrections.manage import export
from valm_core.corrections.database import MadeWith, add_correction, read_corrections
from valm_core.corrections.hub_dataset import CorrectionsUpload, delete_from_repo, read_repo_folder, upload_the_rest


class FakeHub:
    """As much of ``HfApi`` as is used; ``files`` is what lies in the repository."""

    def __init__(self):
        self.files, self.commits, self.squashed, self.made, self.down = {}, 0, 0, None, False

    def create_repo(self, **options):
        self.made = options
        return SimpleNamespace(repo_id=options["repo_id"])

    def run_as_future(self, function):
        return Future()  # the tests push by hand

    def list_repo_files(self, repo, repo_type):
        return list(self.files)

    def create_commit(self, repo_id, operations, *, repo_type, commit_message):
        if self.down:
            raise ConnectionError("no network")
        self.commits += 1
        for operation in operations:
            path = operation.path_in_repo
            if hasattr(operation, "path_or_fileobj"):
                self.files[path] = operation.path_or_fileobj
            else:
                gone = [name for name in self.files if name == path or (path.endswith("/") and name.startswith(path))]
                assert gone
                for name in gone:
                    del self.files[name]

    def super_squash_history(self, repo, repo_type):
        self.squashed += 1


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "feedback" / "corrections.db"
    for color, answer in (("red", "red"), ("blue", "blue"), ("blue", "navy")):
        add_correction(path, Image.new("RGB", (40, 30), color), "what color?", "green", answer, True)
    return path


def test_only_folders_of_days_are_old(upload):
    kept = {".tools/settings.json": b"{}", "1_old_export/rows.json": b"[]", "2001-02-03.json": b"{}"}
    upload.api.files |= kept | {"2001-02-03/ab.json": b"{}", "2001-02-03/ab.jpg": b""}
    upload.push_to_hub()
    assert upload.api.files.keys() >= kept.keys()
    assert not [name for name in upload.api.files if name.startswith("2001-02-03/")]


@pytest.fixture
def upload(database):
    scheduler = CorrectionsUpload(database, "me/corrections", 365, FakeHub())
    yield scheduler
    scheduler.stop()


def download(hub: FakeHub, folder) -> list:
    for path, content in hub.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return list(read_repo_folder(folder))


def test_what_is_uploaded_reads_back_as_it_was_stored(upload, database, tmp_path):
    upload.push_to_hub()
    assert upload.api.made["private"] and upload.api.made["repo_type"] == "dataset"
    assert not any(name.endswith((".db", ".db-wal")) for name in upload.api.files)
    stored = {(row.photo, row.jpeg, row.question, row.right_answer) for row in read_corrections(database)}
    back = download(upload.api, tmp_path / "down")
    assert {(row.photo, row.jpeg, row.question, row.right_answer) for row in back} == stored
    assert export(back, tmp_path / "out") == 3


def test_each_correction_is_uploaded_once_and_a_failed_upload_again(upload, database):
    upload.api.down = True
    with pytest.raises(ConnectionError):
        upload.push_to_hub()
    upload.api.down = False
    upload.push_to_hub()
    upload.push_to_hub()
    assert upload.api.commits == 1
    gone = sorted(upload.api.files)[0]
    del upload.api.files[gone]  # as somebody wished
    add_correction(database, Image.new("RGB", (40, 30), "white"), "what color?", "green", "white", True)
    upload.push_to_hub()
    assert upload.api.commits == 2 and gone not in upload.api.files


def test_what_was_said_again_of_another_model_is_uploaded_again_and_counts(upload, database, tmp_path):
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE corrections SET time = datetime('now', '-2 days')")
    upload.push_to_hub()
    photo, made_with = Image.new("RGB", (40, 30), "red"), MadeWith("other model", "other answers")
    assert add_correction(database, photo, "what color?", "blue", "red", True, made_with=made_with).new
    upload.push_to_hub()
    (red,) = [row for row in download(upload.api, tmp_path / "down") if row.right_answer == "red"]
    assert (red.model_answer, red.checkpoint) == ("blue", "other model")


def test_a_process_that_ends_uploads_what_waits(upload, database, monkeypatch):
    def at_once(function) -> Future:
        done = Future()
        done.set_result(function())
        return done

    monkeypatch.setattr(upload.api, "run_as_future", at_once)
    monkeypatch.setattr("valm_core.corrections.hub_dataset.UPLOADS", [upload])
    upload_the_rest(seconds=10)
    assert len(list(read_corrections(database, uploaded=False))) == 0 < len(upload.api.files)


def test_a_photo_is_deleted_with_its_corrections_and_its_history(upload, database, tmp_path):
    upload.push_to_hub()
    blue = next(row.photo for row in read_corrections(database) if row.right_answer == "navy")
    assert delete_from_repo("me/corrections", "0" * 12, upload.api) == 0 == upload.api.squashed
    assert delete_from_repo("me/corrections", blue[:12], upload.api) == 2
    assert upload.api.squashed == 1
    assert [row.right_answer for row in download(upload.api, tmp_path / "down")] == ["red"]


def test_what_is_too_old_leaves_the_repository(upload, database):
    day = age_corrections(database, 400, "red")
    upload.api.files[".gitattributes"] = b""
    upload.push_to_hub()
    assert any(name.startswith(day) for name in upload.api.files)
    upload.push_to_hub()
    assert not any(name.startswith(day) for name in upload.api.files)
    assert ".gitattributes" in upload.api.files and len(upload.api.files) == 1 + 3


def test_a_hub_that_cannot_be_reached_is_said(database):
    hub = FakeHub()
    hub.create_repo = None
    with pytest.raises(OSError, match=r"me/corrections can't be used .* HF_TOKEN"):
        CorrectionsUpload(database, "me/corrections", 365, hub)
