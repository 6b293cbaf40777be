"""Many questions about many photos: each photo is opened and encoded once; what can't be answered has its error."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from PIL import Image

from valm_core.inputs.text import writable
from valm_core.outputs import EncodedImage, InputError, Photo, Prediction, Predictor

PHOTOS_AT_ONCE, QUESTIONS_AT_ONCE = 16, 64
PhotoFile = TypeVar("PhotoFile", Path, bytes)
Item = TypeVar("Item")


def answer_photos(
    predictor: Predictor,
    asked: Mapping[PhotoFile, Iterable[str]],
    top: int = 5,
    at_once: int = QUESTIONS_AT_ONCE,
    openers: int | None = None,
) -> Iterator[tuple[PhotoFile, str, Prediction | str]]:
    """Ask each photo its questions: photo, question, and the answers or what is wrong with photo or question.

    Args:
        predictor: which answers.
        asked: the questions of each photo.
        top: how many answers, the likeliest first.
        at_once: questions answered together; photos are encoded ``PHOTOS_AT_ONCE``.
        openers: threads that open photos; None leaves their number to Python.
    """
    with ThreadPoolExecutor(openers) as pool:
        for photos in parts(asked, PHOTOS_AT_ONCE):
            opened = dict(zip(photos, pool.map(lambda photo: _opened(predictor, photo), photos), strict=True))
            pictures = {photo: picture for photo, picture in opened.items() if not isinstance(picture, str)}
            for photo, fault in opened.items():
                if isinstance(fault, str):
                    yield from ((photo, question, fault) for question in asked[photo])
            if not pictures:
                continue
            encoded = dict(zip(pictures, predictor.encode_many(list(pictures.values())), strict=True))
            for pairs in parts(((photo, question) for photo in pictures for question in asked[photo]), at_once):
                images, questions = [encoded[photo] for photo, _ in pairs], [question for _, question in pairs]
                for (photo, question), reply in zip(pairs, _replies(predictor, images, questions, top), strict=True):
                    yield photo, question, reply


def parts(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """The items in lists of ``size``, the last one shorter."""
    every = list(items)
    return (every[start : start + size] for start in range(0, len(every), size))


def _opened(predictor: Predictor, photo: Photo) -> Image.Image | str:
    try:
        return predictor.open_photo(photo)
    except (InputError, OSError) as error:
        return writable(error)


def _replies(
    predictor: Predictor, images: list[EncodedImage], questions: list[str], top: int
) -> Sequence[Prediction | str]:
    """One reply a question; where one can't be asked, all are asked singly to find which."""
    try:
        return predictor.answer_many(images, questions, top)
    except InputError as error:
        if len(questions) == 1:
            return [str(error)]
        singly = zip(images, questions, strict=True)
        return [reply for image, text in singly for reply in _replies(predictor, [image], [text], top)]
