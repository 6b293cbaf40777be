"""Collection: the folder of photos that the page "Find" looks through, indexed in the background while it is served."""

import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from demo.settings import device_beside
from valm_core.inputs.photo import open_photo
from valm_core.outputs import Explanation, InputError
from valm_core.retrieval.finder import PhotoFinder
from valm_core.retrieval.index import Found, PhotoIndex, index_beside
from valm_core.retrieval.matching import Finder, Query

log = logging.getLogger("valm")

PATH = "find"  # of the page, and the name of the endpoint
MAX_FOUND = 12  # photos on the page
MAX_FOUND_BY_API = 100
SMALL_SIDE = 320  # pixels of a photo among those found
LOOK_AGAIN_SECONDS = 60.0  # between two looks at the folder
GONE = "This photo is no longer in the collection. Search again."


@dataclass(frozen=True)
class Progress:
    """How far indexing is: of ``total`` new photos ``done``; ``photos`` can be found; ``fault`` is why it stopped."""

    photos: int = 0
    done: int = 0
    total: int = 0
    unreadable: int = 0
    fault: str = ""


@dataclass(frozen=True)
class Search:
    """What a visitor looked for and what was found, the best first; ``query`` is None where a photo was given."""

    found: tuple[Found, ...]
    query: Query | None = None


class Collection:
    """A folder's photos behind the page "Find"; safe to share between threads.

    Only names under the folder, small copies and maps ever leave it, never a file.

    Args:
        folder: whose photos are found, at any depth.
        index_file: where what is known of them is kept; beside the folder by default, ``FOLDER.valm-index``.
        finder: the retrieval model.

    Raises:
        FileNotFoundError: there is no such folder.
        IndexFault: the index can't be used, see ``PhotoIndex``.
    """

    def __init__(self, folder: str | Path, finder: Finder, index_file: str | Path | None = None):
        self.folder, self.finder = Path(folder).resolve(), finder
        if not self.folder.is_dir():
            raise FileNotFoundError(f"There is no folder {folder}. Check VALM_COLLECTION.")
        self.index = PhotoIndex(index_file or index_beside(self.folder), self.folder, finder)
        self.progress = Progress(photos=len(self.index))

    def keep_up(self) -> None:
        """Index what is new, in the background, now and whenever the folder changes."""
        threading.Thread(target=self._keep_up, name="indexing", daemon=True).start()

    def update(self) -> None:
        """Index what is new, once; ``progress`` tells how far it is. A fault is kept there and in the log."""

        def tell(done: int, total: int) -> None:
            self.progress = Progress(len(self.index), done, total)

        try:
            changes = self.index.update(tell)
        except Exception as error:  # whatever it is: the next look may go well, so the thread must go on
            log.exception("indexing the collection failed")
            self.progress = Progress(len(self.index), fault=str(error))
        else:
            self.progress = Progress(len(self.index), unreadable=len(changes.faults))

    def by_words(self, text: str, top: int = MAX_FOUND) -> Search:
        """The photos that fit words best. Raises InputError where the words can't be used."""
        query = self.finder.encode_words(text)
        return Search(tuple(self.index.search(query, top)), query)

    def by_photo(self, path: str) -> Search:
        """The photos most like a given one. Raises InputError where it can't be used."""
        return Search(tuple(self.index.similar(self.finder.encode_photos([path]), MAX_FOUND)))

    def picture(self, name: str) -> Image.Image:
        """A photo that was found. Raises InputError where it is gone since."""
        path = self.index.file_of(name)
        if ".." in path.parts or not (path.is_relative_to(self.folder) and path.is_file()):  # an index can be forged
            raise InputError(GONE)
        return open_photo(path)

    def small(self, name: str) -> Image.Image | None:
        """A photo that was found, its longer side at most ``SMALL_SIDE``; None where it can't be read any more."""
        try:
            picture = self.picture(name).convert("RGB")
        except InputError:
            return None
        picture.thumbnail((SMALL_SIDE, SMALL_SIDE))
        return picture

    def explain(self, query: Query, picture: Image.Image) -> Explanation:
        """Which places of a photo matched which word."""
        return self.finder.explain(query, picture)

    def _keep_up(self) -> None:
        while True:
            self.update()
            time.sleep(LOOK_AGAIN_SECONDS)


def open_collection(folder: str, index_file: str, checkpoint: str | Path) -> Collection:
    """The collection that the settings name, being indexed from now on.

    Raises:
        OSError, ValueError: the folder, the index or the checkpoint can't be used; the message says which.
    """
    try:
        finder = PhotoFinder.from_checkpoint(checkpoint, device_beside())
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"The model {checkpoint} can't find photos: {error} Set VALM_FIND_CHECKPOINT.") from error
    collection = Collection(folder, finder, index_file or None)
    collection.keep_up()
    return collection
