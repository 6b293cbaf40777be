"""Rules about answers that need no torch: which are listed, and when two probabilities differ enough to say so."""

import math
from typing import Protocol, TypeVar

YES_NO = ("yes", "no")
MIN_LISTED = 0.01  # the probability from which another answer is listed beside "yes" and "no"
MIN_POINTS, MIN_ODDS = 0.05, 1.3  # the smallest difference that counts: in probability, or as a factor of the odds


class Likely(Protocol):
    """An answer with its probability, as ``outputs.Answer`` has them."""

    @property
    def text(self) -> str:
        """As shown to people."""

    @property
    def probability(self) -> float:
        """0..1."""


AnyAnswer = TypeVar("AnyAnswer", bound=Likely)


def differ(first: float, second: float) -> bool:
    """Whether two probabilities in 0..1 are far enough apart to speak of an effect.

    By ``MIN_POINTS``, or by ``MIN_ODDS``, which near 0 and 1 is less: from 2 to 3 % counts, from 97 to 97.4 %
    doesn't.
    """
    if abs(first - second) >= MIN_POINTS - 1e-9:
        return True
    low, high = (min(max(value, 1e-6), 1 - 1e-6) for value in sorted((first, second)))
    return math.log(high / (1 - high)) - math.log(low / (1 - low)) >= math.log(MIN_ODDS) - 1e-9


def listed(answers: tuple[AnyAnswer, ...]) -> tuple[AnyAnswer, ...]:
    """The answers, likeliest first, that are worth a line: where "yes" or "no" leads, others only if they are likely.

    Who asks "is there a dog?" is not told that "donut" has 0.02 %.
    """
    if not answers or answers[0].text not in YES_NO:
        return answers
    return tuple(answer for answer in answers if answer.text in YES_NO or answer.probability >= MIN_LISTED)
