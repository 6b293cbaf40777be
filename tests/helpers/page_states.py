"""Every state that the page can be brought into, one after the other, by elements and not by texts: in any language."""

from collections.abc import Iterator
from pathlib import Path

from page_steps import ask, upload, wait_for_evidence

QUESTIONS = ("What color is the bus?", "Is it day or night?")
LONG = 600_000  # milliseconds that a busy machine may search for what would change the answer
FOLLOW_UP, DESCRIBE, TOO_LONG = "and the cat?", "describe this picture", "why " * 200


def open_panel(page, name: str) -> None:
    """Open one of the page's panels, an accordion."""
    page.locator(f"#{name} > button:not(.open)").click()


def close_panel(page, name: str) -> None:
    """Close it."""
    page.locator(f"#{name} > button.open").click()


def asked(page, question: str) -> None:
    """Ask, and wait until the answer, its map and its evidence are there."""
    ask(page, question)
    page.locator("#words button", has_text=question.split()[-1]).wait_for()
    page.locator("#overlay .map img").wait_for()
    wait_for_evidence(page)


def settle(page) -> None:
    """Wait until nothing moves, loads or changes its colour any more."""
    page.wait_for_function(
        """() => {
          const still = document.getAnimations().every(one => one.playState !== "running");
          const boxes = [...document.querySelectorAll("main *")].map(each => each.getBoundingClientRect().top);
          const former = window.formerTops;
          window.formerTops = boxes.length + " " + boxes.reduce((one, other) => one + other, 0);
          return former === window.formerTops && still && [...document.images].every(image => image.complete);
        }""",
        polling=500,
    )


def states(page, photo: Path, describes: bool = False) -> Iterator[str]:
    """The name of each state of the page that asks, once ``page`` is in it.

    Args:
        page: just opened.
        photo: what a visitor uploads.
        describes: whether the server has a model that describes photos.
    """
    yield from before_an_answer(page, photo)
    yield from after_an_answer(page)
    yield from panels(page)
    yield from later_questions(page, describes)
    yield from what_if(page)


def before_an_answer(page, photo: Path) -> Iterator[str]:
    """Without a photo, with one, and what is said of a file that is none."""
    yield "before a photo"
    open_panel(page, "about")
    page.locator(".page-footer").wait_for()
    yield "about"
    close_panel(page, "about")
    ask(page, QUESTIONS[0])
    page.locator("#notice .notice").wait_for()
    yield "no photo"
    upload(page, photo)
    page.locator("#photo img").wait_for()
    page.wait_for_function("!document.querySelector('#notice .notice')")
    yield "photo"


def after_an_answer(page) -> Iterator[str]:
    """An answer, what is selected in it, and how its map is looked at."""
    asked(page, QUESTIONS[0])
    yield "answer"
    page.locator("#words button").nth(2).click()
    page.locator("#words button[aria-pressed=true]").nth(0).wait_for()
    yield "word"
    page.locator(".cell").nth(5).click()
    page.locator("#served .served-words").wait_for()
    yield "word and place"
    page.locator("#selected-clear").click()
    page.locator("#view label").nth(1).click()
    page.locator("#overlay .map").nth(1).wait_for()
    yield "side by side"
    page.locator("#view label").nth(2).click()
    page.locator("#slider img").first.wait_for()
    yield "slider"
    page.locator("#view label").nth(0).click()
    page.locator("#overlay .map img").wait_for()
    page.locator("#enlarge").click()
    page.locator("#stage.large").wait_for()
    yield "large"
    page.locator("#close-large").click()


def panels(page) -> Iterator[str]:
    """Every panel below the answer but "What if": opened, and used."""
    open_panel(page, "details")
    open_panel(page, "heads")
    page.locator("#head-maps .head-map, #head-maps p").first.wait_for()
    yield "details"
    page.locator("#method input").click()
    page.locator("[role=option][data-value=attention], [role=option]:nth-child(2)").first.click()
    page.locator("#head-maps .head-map").first.wait_for()
    yield "all heads"
    close_panel(page, "details")
    open_panel(page, "compare")
    page.locator("#compare-button").click()
    page.locator("#compare-pictures img").nth(1).wait_for()
    yield "compare"
    close_panel(page, "compare")
    open_panel(page, "keep")
    page.locator("#make-link").click()
    page.locator("#keep-message .notice").wait_for()
    yield "keep and share"
    close_panel(page, "keep")
    if page.locator("#correct").count():
        yield from corrections(page)


def what_if(page) -> Iterator[str]:
    """The panel that asks again: opened, asked, what would change the answer.

    Last of all: once opened, gradio's editor draws its canvas without end, which slows down all that follows.
    """
    asked(page, QUESTIONS[1])
    page.locator("#go-paint").click()
    page.locator("#painted canvas").first.wait_for()
    yield "what if"
    page.locator("#words-off input").first.check()
    page.locator("#ask-again").click()
    page.locator("#what-if-outcome .changed").wait_for()
    yield "asked again"
    page.locator("#flip").click()
    page.locator("#what-if-outcome .changed").wait_for(state="detached", timeout=LONG)
    page.locator("#what-if-outcome .comparison").wait_for()
    yield "what would change it"
    if page.locator("#describe-again").is_visible():
        canvas = page.locator("#painted canvas").first
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        page.mouse.move(box["x"] + 0.45 * box["width"], box["y"] + box["height"] / 2)  # the photo lies in the middle
        page.mouse.down()
        page.mouse.move(box["x"] + 0.55 * box["width"], box["y"] + box["height"] / 2, steps=5)
        page.mouse.up()
        page.wait_for_timeout(500)  # the editor tells of its paint a moment later
        page.locator("#describe-again").click()
        page.locator("#what-if-outcome .descriptions").wait_for(timeout=LONG)
        yield "painted, described"


def corrections(page) -> Iterator[str]:
    """The form for corrections: empty, refused, sent."""
    open_panel(page, "correct")
    page.locator("#correct .terms").wait_for()
    yield "correction"
    page.locator("#right-suggestions button").first.click()
    page.locator("#send-correction").click()
    page.locator("#correct-outcome .notice").wait_for()
    yield "correction refused"
    page.locator("#agree input").check()
    page.locator("#send-correction").click()
    page.locator("#correct-outcome .thanks").wait_for()
    yield "correction sent"
    close_panel(page, "correct")


def later_questions(page, describes: bool) -> Iterator[str]:
    """Another photo, more questions, a link, a follow-up, a description, a refusal."""
    asked(page, QUESTIONS[1])
    yield "two questions"
    if not page.locator(".example-card").first.is_visible():  # folded up on a phone
        open_panel(page, "example-strip")
    page.locator(".example-card").nth(1).click()
    page.locator(".kept-photo").nth(1).wait_for()
    yield "two photos"
    open_panel(page, "keep")
    page.locator("#make-link").click()
    page.locator("#link textarea, #link input").wait_for()
    yield "link"
    close_panel(page, "keep")
    asked(page, QUESTIONS[0])
    ask(page, FOLLOW_UP)
    page.locator("#asked-as .asked-as").wait_for()
    yield "follow-up"
    ask(page, DESCRIBE)
    page.locator(".described" if describes else "#notice .notice").first.wait_for()
    if describes:
        page.locator(".described-words label").first.click()
        page.locator(".described-words figure img").first.wait_for()
    yield "described"
    ask(page, TOO_LONG)
    page.locator("#notice .notice").wait_for()
    yield "refused"


def answered(page, photo: Path) -> None:
    """What ``panels`` and ``later_questions`` start from, where nothing went before."""
    upload(page, photo)
    page.locator("#photo img").wait_for()
    asked(page, QUESTIONS[0])


def more(page) -> Iterator[str]:
    """The name of each state of the page of further tasks."""
    yield "more"
    page.locator("#more-run").click()
    page.locator("#more-result .notice").wait_for()
    yield "more, refused"
    page.locator("#more-example").click()
    page.locator("#more-result .answers, #more-result .entities").first.wait_for()
    yield "more, answered"


def finding(page, words: str, photo: Path) -> Iterator[str]:
    """The name of each state of the page that finds photos, by words and then by a visitor's photo."""
    yield "find"
    page.locator("#find-words textarea, #find-words input").fill(words)
    page.keyboard.press("Enter")
    page.locator(".found").first.wait_for()
    yield "found"
    page.locator("#words button").nth(1).click()
    page.locator("#words button[aria-pressed=true]").nth(0).wait_for()
    yield "found, word"
    page.locator("#ask-column .label-wrap:not(.open)").click()
    page.locator("#find-photo input[type=file]").wait_for(state="attached")
    yield "found, photo asked for"
    page.locator("#find-photo input[type=file]").set_input_files(photo)
    page.locator("#words button").first.wait_for(state="detached")  # no words were searched by
    page.locator("#overlay .map img").wait_for()
    yield "found, by photo"
