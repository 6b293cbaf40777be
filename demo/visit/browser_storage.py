"""What a tab's own storage keeps of a visit, so that a reload brings it back; the server keeps nothing more for it.

It is a short text of questions and of the names that the server gave to the photos: no photo, no answer, no map. The
tab forgets it when it is closed. What comes back is asked anew.
"""

import json

from demo.visit import asking, history
from demo.visit.asking import Reply, prompt_of
from demo.visit.examples import Example, example_named, example_of
from demo.visit.history import MAX_PHOTOS, MAX_QUESTIONS, PhotoHistory
from demo.visit.uploads import upload_path
from valm_core.outputs import InputError, Predictor

MAX_CHARACTERS = 40_000  # characters of what a tab may send back: four photos with twenty questions each fit
MAX_ASKED_AGAIN = 3  # questions of each photo, the last ones: a reload must not keep the model for long
# The storage of one tab: it survives a reload, not the end of the tab, and no other tab sees it.
KEY = "valm-visit"
READ = f"() => {{ try {{ return sessionStorage.getItem('{KEY}') ?? ''; }} catch {{ return ''; }} }}"
WRITE = f"""(kept) => {{
  try {{ kept ? sessionStorage.setItem("{KEY}", kept) : sessionStorage.removeItem("{KEY}"); }} catch {{}}
  return kept;
}}"""


def to_keep(histories: tuple[PhotoHistory, ...], current: Reply | None, examples: tuple[Example, ...]) -> str:
    """The text for the tab's storage: every photo's name and questions, and what is on the page; "" for nothing."""
    if not histories:
        return ""
    photos = []
    for kept in histories:
        example = example_of(examples, kept.photo)
        name = {"example": example.path.stem} if example else {"upload": kept.path}
        prompts = {reply.prediction.question: prompt for reply in kept.replies if (prompt := prompt_of(reply.photo))}
        questions = [reply.prediction.question for reply in kept.replies]
        photos.append(name | {"questions": questions} | ({"prompts": prompts} if prompts else {}))
    here = history.history_of(histories, current.photo) if current else None
    shown = [histories.index(here), current.prediction.question] if here and current else None
    return json.dumps({"photos": photos, "shown": shown})


def bring_back(
    predictor: Predictor, examples: tuple[Example, ...], kept: str
) -> tuple[tuple[PhotoHistory, ...], Reply | None]:
    """The visit that a tab kept, asked anew: its histories, and the reply that was on the page.

    Args:
        predictor: as the page has it.
        examples: the packaged photos.
        kept: of ``to_keep``, or whatever a browser sent in its place.

    Returns:
        What could be had of it: photos that were deleted meanwhile, and what is no such text, are left out.
    """
    photos, (place, question) = _read(kept)
    histories: tuple[PhotoHistory, ...] = ()
    current = None
    for number, photo in enumerate(photos):
        last = photo["questions"][-MAX_ASKED_AGAIN:]
        here = question if number == place else None
        asked = [*(text for text in last if text != here), *([here] if here in photo["questions"] else [])]
        for text in asked:
            try:
                path = _path_of(photo, examples)
                prompt = photo.get("prompts", {}).get(text)
                reply = asking.ask(predictor, path, history.already_opened(histories, path), text, prompt)
            except InputError:
                continue
            histories = history.remember(histories, path, reply)
            if text == here:
                current = reply
    return histories, current


def has_asked(kept: str, example: str, question: str) -> bool:
    """Whether a kept visit has a question about an example."""
    photos, _ = _read(kept)
    text = " ".join(question.split())
    return any(photo.get("example") == example and text in photo["questions"] for photo in photos)


def _path_of(photo: dict, examples: tuple[Example, ...]) -> str:
    """Where a photo of a visit lies. Raises InputError where it lies nowhere any more, or must not be opened."""
    if "upload" in photo:
        return str(upload_path(photo["upload"]))
    return str(example_named(examples, photo["example"]).path)


def _read(kept: str) -> tuple[list[dict], tuple[int, str]]:
    """Photos and what was shown of a kept text; none where it is no such text."""
    nothing: tuple[list[dict], tuple[int, str]] = [], (-1, "")
    if not kept or len(kept) > MAX_CHARACTERS:
        return nothing
    try:
        found = json.loads(kept)
        photos, shown = found["photos"][:MAX_PHOTOS], found["shown"] or (-1, "")
        for photo in photos:
            texts = [photo.get("upload", ""), photo.get("example", ""), *photo["questions"][-MAX_QUESTIONS:]]
            texts += photo.get("prompts", {}).values()
            if not all(isinstance(text, str) for text in texts) or not ("upload" in photo or "example" in photo):
                return nothing
        place, question = shown
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return nothing
    return (photos, (place, question)) if isinstance(question, str) else nothing
