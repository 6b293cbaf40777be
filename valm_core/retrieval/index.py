"""PhotoIndex: the photos of a folder as a retrieval model compares them, in one SQLite file, searched exactly."""

import math
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from valm_core.inputs.photo import PHOTO_PREPROCESSING, open_photo, photos_in
from valm_core.inputs.text import original_name, printable, writable
from valm_core.outputs import InputError, UnreachablePhoto
from valm_core.retrieval.matching import Finder, PhotoKeys, Query

ENCODED_AT_ONCE = 32  # photos; as many are lost at most when indexing is interrupted
RANKED_AGAIN = 50  # of the photos whose vectors fit best, how many are compared word by cell
LOCK_SECONDS = 5
LENGTH_TOLERANCE = 0.02  # of a vector's squared length from 1, for what half precision rounds
NO_FILE = (-1, -1)  # size and time of none
VERSION = 1
FIRST_PREPROCESSING = "3"  # of photos in indexes that don't say it yet
TABLES = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS photos (
    name TEXT PRIMARY KEY, size INTEGER NOT NULL, changed INTEGER NOT NULL,
    vector BLOB, cells BLOB, fault TEXT NOT NULL DEFAULT '');
"""


class IndexFault(OSError):
    """The file of an index can't be used; the message names it and the remedy."""


def index_beside(folder: Path) -> Path:
    """Where the index of a folder lies by default: beside it, never in it."""
    return folder.resolve().with_name(f"{folder.resolve().name}.valm-index")


@dataclass(frozen=True)
class Changes:
    """What an update did: photos added (changed ones too), removed, left as they were, and faults by name."""

    added: int
    removed: int
    kept: int
    faults: dict[str, str]


@dataclass(frozen=True)
class Found:
    """One photo that was found: its name under the folder, its score, and how sure such a score is, or None."""

    name: str
    score: float
    found_share: float | None = None


@dataclass(frozen=True)
class Known:
    """What an index holds in memory to search in: ``names`` of P photos and their ``vectors`` [P, D] float32."""

    names: tuple[str, ...]
    vectors: np.ndarray

    def nearest(self, vector: np.ndarray, count: int) -> list[int]:
        """Places of at most ``count`` photos whose vectors are nearest, the nearest first."""
        if not self.names:
            return []
        cosines = self.vectors @ vector
        count = min(count, len(cosines))
        best = np.argpartition(-cosines, count - 1)[:count]
        return best[np.argsort(-cosines[best], kind="stable")].tolist()


def _size_and_time(path: Path) -> tuple[int, int]:
    """What tells that a file has changed; of one that is gone, or of a link to nothing, numbers that no file has."""
    try:
        stat = path.stat()
    except OSError:
        return NO_FILE
    return stat.st_size, stat.st_mtime_ns


class PhotoIndex:
    """Vectors and cells of a folder's photos, kept in one file outside of it.

    SQLite keeps it whole whatever happens to the process or the machine; a batch of photos is there or is not. Vectors
    are compared with all photos by one matrix product, so nothing is missed, and the best of them word by cell.

    Args:
        path: the file; it is made where it is missing.
        folder: whose photos it holds, at any depth.
        finder: the model that encodes them.

    Raises:
        IndexFault: the file is no index, is of another folder or model, or can't be written.
    """

    def __init__(self, path: str | Path, folder: str | Path, finder: Finder):
        self.path, self.folder, self.finder = Path(path), Path(folder), finder
        if self.folder.resolve() in self.path.resolve().parents:
            raise IndexFault(f"{path} lies inside {folder}, whose photos it would index. Name a file elsewhere.")
        about = {"version": str(VERSION), "model": finder.fingerprint, "folder": str(self.folder.resolve())}
        about |= {"photo preprocessing": str(PHOTO_PREPROCESSING)}
        with self._opened() as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if tables and "about" not in tables:
                raise IndexFault(f"{path} is no index of photos but another database. Name another file.")
            database.executescript(TABLES)
            stored = dict(database.execute("SELECT name, value FROM about"))
            if stored:
                stored.setdefault("photo preprocessing", FIRST_PREPROCESSING)
            if not stored:
                database.executemany("INSERT INTO about VALUES (?, ?)", about.items())
                database.commit()
            elif different := [name for name in about if stored.get(name) != about[name]]:
                raise IndexFault(
                    f"{path} is an index of another {' and '.join(different)}. Name another file, or delete it to "
                    "index anew."
                )
        self._known = Known((), np.empty((0, 0), dtype=np.float32))
        self._load()

    def __len__(self) -> int:
        return len(self._known.names)

    def update(self, progress: Callable[[int, int], None] = lambda done, total: None) -> Changes:
        """Encode what is new or changed in the folder and drop what is gone. Interrupted, it goes on next time.

        Other threads may search meanwhile, and find the new photos bit by bit.

        Args:
            progress: called with how many of the new photos are done, and how many there are.

        Raises:
            IndexFault: the folder isn't there: a drive that comes back later must not cost what was indexed.
        """
        if not self.folder.is_dir():
            raise IndexFault(f"There is no folder {self.folder} now. What was indexed of it is kept in {self.path}.")
        photos, _ = photos_in(self.folder)
        files = {writable(path.relative_to(self.folder).as_posix()): path for path in photos}
        with self._opened() as database:
            known = {name: tuple(stat) for name, *stat in database.execute("SELECT name, size, changed FROM photos")}
            stats = {name: _size_and_time(path) for name, path in files.items()}
            gone = sorted(known.keys() - files.keys())
            new = [name for name in files if known.get(name) != stats[name]]
            database.executemany("DELETE FROM photos WHERE name = ?", [(name,) for name in gone])
            database.commit()
            if gone:
                self._load()
            progress(0, len(new))
            loaded = 0  # of the new ones
            for first in range(0, len(new), ENCODED_AT_ONCE):
                part = new[first : first + ENCODED_AT_ONCE]
                rows = self._encoded(part, files, stats)
                database.executemany("INSERT OR REPLACE INTO photos VALUES (?, ?, ?, ?, ?, ?)", rows)
                database.commit()
                if first + len(part) - loaded > len(self):  # twice as many as before, so that loading costs little
                    self._load()
                    loaded = first + len(part)
                progress(first + len(part), len(new))
            faults = dict(database.execute("SELECT name, fault FROM photos WHERE fault != ''"))
        if new or gone or len(known) - len(faults) != len(self):  # perhaps by another process
            self._load()
        return Changes(len(new) - len(faults.keys() & set(new)), len(gone), len(files) - len(new), faults)

    def search(self, query: Query, top: int = 10) -> list[Found]:
        """The ``top`` photos that fit words best, the best first."""
        known = self._known
        keys = self._keys([known.names[place] for place in known.nearest(query.vector, max(top, RANKED_AGAIN))])
        if not keys:
            return []
        names, vectors, cells = zip(*keys, strict=True)
        scores = self.finder.scores(query, PhotoKeys(np.stack(vectors), np.stack(cells)))
        order = np.argsort(-scores, kind="stable")[:top]
        return [
            Found(names[place], float(scores[place]), self.finder.found_share(float(scores[place]))) for place in order
        ]

    def similar(self, keys: PhotoKeys, top: int = 10) -> list[Found]:
        """The ``top`` photos most like a given one, by the cosine of their vectors, -1..1."""
        known, vector = self._known, keys.vectors[0].astype(np.float32)
        return [Found(known.names[place], float(known.vectors[place] @ vector)) for place in known.nearest(vector, top)]

    def file_of(self, name: str) -> Path:
        """Where the photo lies that was found under this name; a name that is no UTF-8 has its bytes again."""
        path = self.folder / name
        return path if path.is_file() else self.folder / original_name(name)

    def _encoded(
        self, names: Sequence[str], files: dict[str, Path], stats: dict[str, tuple[int, int]]
    ) -> Iterator[tuple[Any, ...]]:
        """Rows for the database; a file that is no photo is kept with its fault, so that it is tried once.

        One that can't be read now is tried again: nothing of the file has to change for it.
        """
        good, faults = [], {}
        for name in names:
            try:
                good.append((name, open_photo(files[name])))
            except UnreachablePhoto as error:
                faults[name], stats[name] = str(error), NO_FILE
            except InputError as error:
                faults[name] = str(error)
        if good:
            keys = self.finder.encode_photos([photo for _, photo in good])
            for (name, _), vector, cells in zip(good, keys.vectors, keys.cells, strict=True):
                yield (name, *stats[name], vector.tobytes(), cells.tobytes(), "")
        for name, fault in faults.items():
            yield (name, *stats[name], None, None, fault)

    def _keys(self, names: Sequence[str]) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """Name, vector [D] and cells [M, D] of some photos; those that were taken out meanwhile are missing."""
        with self._opened() as database:
            rows = [
                database.execute("SELECT vector, cells FROM photos WHERE name = ? AND fault = ''", (name,)).fetchone()
                for name in names
            ]
        found = [(name, *row) for name, row in zip(names, rows, strict=True) if row is not None]
        vectors = self._vectors([(name, vector) for name, vector, _ in found])
        shape = self.finder.cells, self.finder.width
        return [
            (name, vector, np.frombuffer(self._checked(cells, math.prod(shape), name), dtype=np.int8).reshape(shape))
            for vector, (name, _, cells) in zip(vectors, found, strict=True)
        ]

    def _load(self) -> None:
        with self._opened() as database:
            rows = database.execute("SELECT name, vector FROM photos WHERE fault = '' ORDER BY name").fetchall()
        self._known = Known(tuple(name for name, _ in rows), self._vectors(rows).astype(np.float32))

    def _vectors(self, rows: Sequence[tuple[Any, Any]]) -> np.ndarray:
        """Vectors [P, D] float16 of P photos, each given by its name and what is stored.

        Raises:
            IndexFault: one is something else, or its squares don't sum to about 1, so that it could outdo all others.
        """
        size = np.dtype(np.float16).itemsize * self.finder.width
        stored = b"".join(self._checked(vector, size, name) for name, vector in rows)
        vectors = np.frombuffer(stored, dtype=np.float16).reshape(len(rows), self.finder.width)
        lengths = np.einsum("pd,pd->p", vectors, vectors, dtype=np.float32)
        wrong = ~(np.abs(lengths - 1) < LENGTH_TOLERANCE)  # so written that what is no number is wrong, too
        if wrong.any():
            raise self._damaged(rows[int(wrong.argmax())][0])
        return vectors

    def _checked(self, stored: object, size: int, name: object) -> bytes:
        """What is stored of a photo, ``size`` bytes. Raises IndexFault where it is something else."""
        if not isinstance(name, str) or not isinstance(stored, bytes) or len(stored) != size:
            raise self._damaged(name)
        return stored

    def _damaged(self, name: object) -> IndexFault:
        return IndexFault(
            f"{self.path} is damaged: what it holds of {printable(name)!r} is no vector of this model. Delete it "
            "to index anew."
        )

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=LOCK_SECONDS)) as database:
                yield database
        except sqlite3.Error as error:
            raise IndexFault(
                f"{self.path} can't be used as an index ({error}). Name another file in a folder to write to, or "
                "delete it to index anew."
            ) from error
