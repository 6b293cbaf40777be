"""Corrections in a dataset repository of the Hugging Face hub: uploaded by the page, read and deleted from afar.

Each day has a folder; a correction is ``<day>/<sha256 of the photo>-<hash>.json`` beside ``<day>/<sha256>.jpg``. Files
are written once and never again, so several pages may share a repository and what is deleted there stays deleted.
"""

import concurrent.futures
import datetime
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import (
    CommitInfo,
    CommitOperationAdd,
    CommitOperationDelete,
    CommitScheduler,
    HfApi,
    snapshot_download,
)

from valm_core.corrections.database import MODEL_COLUMNS, Correction, mark_uploaded, read_corrections, the_photo
from valm_core.inputs.text import parse_json, read_text

REPO_TYPE = "dataset"
MAX_IN_A_COMMIT = 200  # corrections
DAY = re.compile(r"\d{4}-\d{2}-\d{2}")  # the name of a folder; others in the repository are somebody else's


def files_of(correction: Correction) -> dict[str, bytes]:
    """A correction as files: path in the repository -> content."""
    day = correction.time[:10]
    row = {
        "time": correction.time,
        "question": correction.question,
        "model_answer": correction.model_answer,
        "right_answer": correction.right_answer,
    }
    made_with = {name: getattr(correction, name) for name in MODEL_COLUMNS}
    row |= {name: value for name, value in made_with.items() if value}
    content = json.dumps(row, ensure_ascii=False).encode()
    name = f"{day}/{correction.photo}"
    return {f"{name}.jpg": correction.jpeg, f"{name}-{hashlib.sha256(content).hexdigest()[:8]}.json": content}


def read_repo_folder(folder: str | Path) -> Iterator[Correction]:
    """The corrections in a downloaded repository, oldest first; those whose photo was deleted are passed over.

    What was said again, of another model, counts as it was said last.
    """
    found = []
    for path in Path(folder).glob("*/*-*.json"):
        digest = path.name.rpartition("-")[0]
        photo = path.with_name(f"{digest}.jpg")
        if photo.is_file():
            found.append((parse_json(read_text(path)), digest, photo))
    found.sort(key=lambda entry: (entry[0]["time"], entry[1], entry[0]["question"]))
    last = {(digest, row["question"], row["right_answer"]): (row, digest, photo) for row, digest, photo in found}
    for number, (row, digest, photo) in enumerate(last.values(), 1):
        yield Correction(number, photo=digest, jpeg=photo.read_bytes(), **row)


def read_repo(repo: str) -> Iterator[Correction]:
    """Download a repository, or what is new in it, and read it. Raises OSError where that fails."""
    with _reaching(repo):
        folder = snapshot_download(repo, repo_type=REPO_TYPE)
    yield from read_repo_folder(folder)


def delete_from_repo(repo: str, photo: str, api: HfApi | None = None) -> int:
    """Delete a photo and its corrections from a repository and from its history.

    Args:
        repo: ``owner/name``.
        photo: the photo's sha256 or its beginning.
        api: how to reach the hub.

    Returns:
        How many corrections were deleted.

    Raises:
        ValueError: see ``valm_core.corrections.database.the_photo``.
        OSError: the hub can't be reached or refuses.
    """
    api = api or HfApi()
    with _reaching(repo):
        names = [path for path in api.list_repo_files(repo, repo_type=REPO_TYPE) if "/" in path]
    digests = {path: path.rpartition("/")[2].partition(".")[0].partition("-")[0] for path in names}
    digest = the_photo(photo, sorted(set(digests.values())))
    paths = [path for path in names if digests[path] == digest]
    if paths:
        with _reaching(repo):
            _delete(api, repo, [CommitOperationDelete(path) for path in paths])
    return sum(path.endswith(".json") for path in paths)


class CorrectionsUpload(CommitScheduler):
    """Every few minutes uploads what is new in a database, and deletes from the repository what is too old.

    Args:
        database: the SQLite file.
        repo: ``owner/name``; a private dataset is made where there is none.
        days: how long a correction stays there.
        api: how to reach the hub.
        every: minutes.

    Raises:
        OSError: the hub can't be reached or refuses.
    """

    def __init__(self, database: Path, repo: str, days: int, api: HfApi | None = None, every: float = 5):
        self.database, self.days = database, days
        place = {"repo_id": repo, "repo_type": REPO_TYPE, "private": True}
        with _reaching(repo):
            super().__init__(**place, folder_path=database.parent, every=every, hf_api=api)
        UPLOADS.append(self)

    def push_to_hub(self) -> CommitInfo | None:
        """One commit with what is new; files are made from the database, which itself is never uploaded."""
        self._delete_old()
        if not self.database.is_file():
            return None
        corrections = []
        for correction in read_corrections(self.database, uploaded=False):
            corrections.append(correction)
            if len(corrections) == MAX_IN_A_COMMIT:  # the others wait for the next round
                break
        if not corrections:
            return None
        files = {path: content for correction in corrections for path, content in files_of(correction).items()}
        commit = self.api.create_commit(
            repo_id=self.repo_id,
            repo_type=REPO_TYPE,
            operations=[CommitOperationAdd(path, content) for path, content in files.items()],
            commit_message=f"{len(corrections)} corrections",
        )
        mark_uploaded(self.database, [correction.number for correction in corrections])
        return commit

    def _delete_old(self) -> None:
        limit = datetime.datetime.now(datetime.timezone.utc).date() - datetime.timedelta(days=self.days)
        paths = self.api.list_repo_files(self.repo_id, repo_type=REPO_TYPE)
        days = {path.partition("/")[0] for path in paths if path.endswith(".json") and "/" in path}
        old = sorted(day for day in days if DAY.fullmatch(day) and day < limit.isoformat())
        if old:
            _delete(self.api, self.repo_id, [CommitOperationDelete(f"{day}/", is_folder=True) for day in old])


UPLOADS: list[CorrectionsUpload] = []  # of this process


def upload_the_rest(seconds: float) -> None:
    """What the next rounds would upload, now, as far as ``seconds`` allow: for a process that ends."""
    concurrent.futures.wait([upload.trigger() for upload in UPLOADS], timeout=seconds)


def _delete(api: HfApi, repo: str, operations: list[CommitOperationDelete]) -> None:
    """Delete in one commit, then drop the history, in which it would still lie."""
    api.create_commit(repo, operations, repo_type=REPO_TYPE, commit_message="Delete corrections")
    api.super_squash_history(repo, repo_type=REPO_TYPE)


@contextmanager
def _reaching(repo: str) -> Iterator[None]:
    """Turn what the hub's library and its network raise, which no common class covers, into an OSError."""
    try:
        yield
    except Exception as error:
        raise OSError(
            f"The dataset {repo} can't be used ({error}). Check its name, the network and that HF_TOKEN may write."
        ) from error
