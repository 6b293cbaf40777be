"""The doors beside asking: a photo described, a collection searched, the tasks of the page More."""

from pathlib import Path

from hostile.doors import Door

from demo.finding.collection import Collection
from demo.finding.results import found_html, refusal_html
from demo.page.more import MorePage
from demo.rendering.description import description_html
from demo.rendering.wording import notice_html
from valm_core.captions.captioner import Captioner
from valm_core.inputs.photo import open_photo
from valm_core.outputs import InputError


def describe_door(captioner: Captioner) -> Door:
    """A photo described, as the page shows it; nothing is asked."""

    def door(photo: Path, question: str) -> str:
        try:
            picture = open_photo(photo)
            return description_html(picture, captioner.describe(picture))
        except InputError as error:
            return notice_html(str(error))

    return door


def find_photo_door(collection: Collection) -> Door:
    """The photos of a collection that are most like the one sent."""

    def door(photo: Path, question: str) -> str:
        try:
            search = collection.by_photo(str(photo))
        except InputError as error:
            return refusal_html(error)
        return found_html(search, [collection.small(one.name) for one in search.found], 0)

    return door


def find_words_door(collection: Collection) -> Door:
    """What the words find in a collection, and where each word matched."""

    def door(photo: Path, question: str) -> str:
        try:
            search = collection.by_words(question)
            collection.explain(search.query, collection.picture(search.found[0].name))
        except InputError as error:
            return refusal_html(error)
        return found_html(search, [collection.small(one.name) for one in search.found], 0)

    return door


def more_door(page: MorePage, task: str) -> Door:
    """One task of the page More; a document is what is sent as a photo."""

    def door(photo: Path, question: str) -> str:
        return "".join(page.answer(task, question, str(photo), str(photo), 1))

    return door
