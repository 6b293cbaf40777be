"""The models behind the page More: one a task, loaded when someone first wants it."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from demo.settings import device_beside
from valm_core.checkpoints.contents import task_of
from valm_core.inputs.ocr import has_ocr, rapid_ocr
from valm_core.outputs import Photo
from valm_core.tasks.labeller import Labelled, Labeller
from valm_core.tasks.reader import PageAnswer, Reader, ReadPage
from valm_core.tasks.tagger import Tagged, Tagger

PATH = "more"
MAX_LOADED = 2  # models at once: each holds two encoders
_labeller = partial(Labeller.from_checkpoint, fold=False)  # loaded while other threads answer
LOADERS: dict[str, Callable[[str | Path, str], Any]] = {
    "tag": Tagger.from_checkpoint,
    "relate": _labeller,
    "judge": _labeller,
    "feel": _labeller,
    "read": Reader.from_checkpoint,
}


class MoreModels:
    """The checkpoints of some tasks; safe to share between threads.

    Args:
        checkpoints: keys of ``LOADERS``, each with the folder of its checkpoint.
    """

    def __init__(self, checkpoints: Mapping[str, str | Path]):
        self.checkpoints = dict(checkpoints)
        self._loaded: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def tasks(self) -> tuple[str, ...]:
        """What the page offers: tasks that there is a checkpoint for, in their order; reading where there is OCR."""
        return tuple(task for task in LOADERS if task in self.checkpoints and (task != "read" or has_ocr()))

    @property
    def can_read(self) -> bool:
        """Whether there is a checkpoint that reads; without OCR it says what to install."""
        return "read" in self.checkpoints

    def tag(self, text: str, photo: Photo | None = None) -> Tagged:
        """The entities of a sentence. Errors as of ``Tagger.tag``."""
        return self._model("tag").tag(text, photo)

    def label(self, task: str, text: str, photo: Photo | None = None) -> Labelled:
        """The label of a text for one of the tasks that label. Errors as of ``Labeller.label``."""
        return self._model(task).label(text, photo)

    def read(self, document: Photo, question: str, number: int = 1) -> tuple[ReadPage, PageAnswer]:
        """A page of a document, and what it answers. Errors as of ``open_page`` and ``ask_page``."""
        page = self.open_page(document, number)
        return page, self.ask_page(page, question)

    def open_page(self, document: Photo, number: int = 1) -> ReadPage:
        """A page of a document, read once. Errors as of ``Reader.open``."""
        rapid_ocr()  # where it is missing, that is told before a model is loaded
        return self._model("read").open(document, number)

    def ask_page(self, page: ReadPage, question: str) -> PageAnswer:
        """What a page answers. Errors as of ``Reader.ask``."""
        return self._model("read").ask(page, question)

    def _model(self, task: str) -> Any:
        with self._lock:
            if task not in self._loaded:
                self._loaded[task] = LOADERS[task](self.checkpoints[task], device_beside())
            self._loaded.move_to_end(task)
            while len(self._loaded) > MAX_LOADED:
                self._loaded.popitem(last=False)
            return self._loaded[task]


def open_models(folders: tuple[str | Path, ...]) -> MoreModels | None:
    """The models in some folders, as one a task; None where there is no folder.

    Raises:
        ValueError: a folder holds no checkpoint, one for a task that the page doesn't know, or a second one for a task.
    """
    checkpoints: dict[str, str | Path] = {}
    for folder in folders:
        try:
            task = task_of(Path(folder))
        except (OSError, ValueError) as error:
            raise ValueError(f"VALM_MORE names {folder}, which can't be used: {error}") from error
        if task not in LOADERS:
            raise ValueError(f"VALM_MORE names {folder}, for the task {task!r}; allowed: {', '.join(LOADERS)}.")
        if task in checkpoints:
            raise ValueError(f"VALM_MORE names {checkpoints[task]} and {folder}, both for the task {task!r}; keep one.")
        checkpoints[task] = folder
    return MoreModels(checkpoints) if checkpoints else None
