"""HTML of the page "Find": how far indexing is, the photos that were found, what their order is worth."""

from markupsafe import escape
from PIL import Image

from demo.finding.collection import Progress, Search
from demo.languages.translate import say, say_html, translated
from demo.rendering.wording import data_address, percent
from valm_core.outputs import InputError


def progress_html(progress: Progress) -> str:
    """How many photos can be found, and whether more are being indexed; what couldn't be read."""
    if progress.fault:
        return f'<p class="notice">{say("Indexing stopped. Whoever runs this page finds the reason in its log.")}</p>'
    text = say("{count} photos can be found.", count=f"{progress.photos:,}")
    if progress.total:
        indexing = say(
            "{done} of {total} new ones are indexed.", done=f"{progress.done:,}", total=f"{progress.total:,}"
        )
        text = f"{text} {indexing}"
    elif progress.unreadable:
        text = f"{text} {say('{count} could not be read.', count=f'{progress.unreadable:,}')}"
    return f'<p class="fine-print">{text}</p>'


def found_html(search: Search, pictures: list[Image.Image | None], selected: int | None) -> str:
    """The photos found as buttons for selection.js, the best first, the selected one marked.

    Args:
        search: what was found.
        pictures: a small copy of each, None where it is gone.
        selected: its place among them.
    """
    if not search.found:
        return f'<p class="notice">{say("There is no photo to be found yet.")}</p>'
    cards = []
    for place, (one, picture) in enumerate(zip(search.found, pictures, strict=True)):
        name = say_html("Photo {place}: {name}", place=place + 1, name=one.name)
        content = f'<img src="{data_address(picture)}" alt="">' if picture else f"<span>{say('gone')}</span>"
        current = str(place == selected).lower()
        cards.append(
            f'<button type="button" class="found" data-item="{place}" aria-current="{current}" aria-label="{name}" '
            f'title="{name}" tabindex="{0 if place == (selected or 0) else -1}">{content}'
            f'<span class="found-place">{place + 1}</span></button>'
        )
    title = say("Photos found, the best first")
    grid = f'<div class="found-photos" role="toolbar" aria-label="{title}" data-columns="1">{"".join(cards)}</div>'
    return f"{worth_html(search)}{grid}"


def worth_html(search: Search) -> str:
    """What the order is worth: how often searches whose best photo had such a score found theirs, or a likeness."""
    best = search.found[0]
    if search.query is None:
        likeness = say("The nearest is {likeness} like it (1 is the same photo).", likeness=f"{best.score:.2f}")
        return f'<p class="found-worth">{likeness}</p>'
    if best.found_share is None:
        return ""
    share = percent(best.found_share)
    template = "With a score like this one, the first photo is the one that was meant {share} of the time."
    sentence = say_html(template, share=share)
    measured = say("Measured on photos that the model never learned from; among more photos it is less often.")
    return f'<p class="found-worth" title="{measured}">{sentence}</p>'


def refusal_html(error: InputError) -> str:
    """Why words or a photo can't be searched by."""
    return f'<p class="notice">{escape(translated(error))}</p>'
