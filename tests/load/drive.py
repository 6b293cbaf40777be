"""Many visitors at once, each with a photo and questions of their own: does anyone get another one's answer?"""

import asyncio
import io
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from load.visitor import Busy, Layout, Visitor, connect, read_layout
from PIL import Image

QUESTIONS = ("what color is the square?", "is there any red?", "how many are there?")
SHOWN = ("answers", "overlay", "words", "evidence")  # what must equal the sequential run: answer, map, words, verdict


@dataclass(frozen=True)
class Drive:
    """What ``drive`` saw: every question's seconds, who got what in error, and the longest queue anyone was told of.

    ``weighed_seconds`` are those until the evidence came, too.
    """

    seconds: list[float]
    weighed_seconds: list[float]
    crossed: list[str]
    errors: list[str]
    longest_queue: int
    wall_seconds: float

    def percentile(self, share: float, weighed: bool = False) -> float:
        """Seconds within which this share (0..100) of the questions was answered, or had its evidence."""
        seconds = self.weighed_seconds if weighed else self.seconds
        return float(np.percentile(seconds, share)) if seconds else float("nan")


def photo_of(number: int) -> bytes:
    """A photo that no other visitor has."""
    generator = np.random.default_rng(number)
    cells = generator.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(cells).resize((160, 120), Image.Resampling.NEAREST).save(buffer, "PNG")
    return buffer.getvalue()


async def visit(client, layout: Layout, number: int, questions: int) -> list:
    """What visitor ``number`` gets for each question."""
    visitor = Visitor(client, layout)
    await visitor.upload(photo_of(number), f"photo_{number}.png")
    return [await visitor.ask_and_weigh(QUESTIONS[(number + turn) % len(QUESTIONS)]) for turn in range(questions)]


async def drive(url: str, visitors: int = 64, questions: int = 2) -> Drive:
    """Let visitors ask one after the other, then all at once, and compare.

    Args:
        url: of a page on this machine.
        visitors: how many.
        questions: of each.
    """
    async with connect(url) as client:
        layout = await read_layout(client)
        alone = [await visit(client, layout, number, questions) for number in range(visitors)]
        begin = time.perf_counter()
        together = await asyncio.gather(
            *(visit(client, layout, number, questions) for number in range(visitors)), return_exceptions=True
        )
        wall = time.perf_counter() - begin
    seconds, weighed, crossed, errors, longest = [], [], [], [], 0
    for number, (first, second) in enumerate(zip(alone, together, strict=True)):
        if isinstance(second, BaseException):
            errors.append(f"visitor {number}: {second!r}")
            continue
        for turn, (expected, got) in enumerate(zip(first, second, strict=True)):
            seconds.append(got.seconds)
            weighed.append(got.weighed_seconds)
            longest = max([longest, *got.places])
            crossed += [
                f"visitor {number}, question {turn}: {part}"
                for part in SHOWN
                if expected.html.get(part) != got.html.get(part)
            ]
    return Drive(seconds, weighed, crossed, errors, longest, wall)


async def flood(url: str, visitors: int, when_refused: Callable[[], None] = lambda: None) -> tuple[int, list[str]]:
    """Far more visitors than the queue takes, all at once: how many were answered, and what the others were told.

    Args:
        url: of a page on this machine.
        visitors: how many.
        when_refused: called each time that one is turned away.
    """
    async with connect(url) as client:
        layout = await read_layout(client)
        photo = Visitor(client, layout)
        await photo.upload(photo_of(0))

        async def ask(number: int) -> str | None:
            visitor = Visitor(client, layout)
            visitor.photo = photo.photo
            try:
                await visitor.ask(QUESTIONS[number % len(QUESTIONS)])
            except Busy as busy:
                when_refused()
                return str(busy)
            return None

        messages = await asyncio.gather(*(ask(number) for number in range(visitors)))
    turned_away = [message for message in messages if message is not None]
    return len(messages) - len(turned_away), turned_away
