"""Other models beside ours on the same photo and question: any that ``load_predictor`` reads, by folder or hub name."""

from dataclasses import dataclass

from PIL import Image

from demo.languages.translate import say
from demo.rendering.wording import method_name
from demo.settings import device_beside
from valm_core.loading import load_predictor
from valm_core.outputs import Answer, Explanation, InputError, Predictor

TOP = 5


@dataclass(frozen=True, eq=False)
class Answered:
    """What one model says: its likeliest answers, where it looked as a whole, and how that map was made."""

    name: str
    answers: tuple[Answer, ...]
    explanation: Explanation
    note: str


class Peer:
    """Another model: its ``name`` for people, and the ``predictor`` that answers."""

    def __init__(self, name: str, predictor: Predictor):
        self.name, self.predictor = name, predictor

    def ask(self, photo: Image.Image, question: str) -> Answered:
        """Answer and explain. Raises InputError."""
        encoded = self.predictor.encode(photo)
        prediction = self.predictor.answer(encoded, question, TOP)
        explanation = self.predictor.explain(encoded, question, answer=prediction.answers[0].text)
        method = method_name(explanation.method)
        if not prediction.calibrated:
            note = say("map: {method}; its percentages are not calibrated", method=method)
        else:
            note = say("map: {method}", method=method)
        return Answered(self.name, prediction.answers, explanation, note)


def load_peer(name: str, location: str) -> Peer:
    """The model at a folder or hub name.

    Raises:
        InputError: it isn't there, is of another kind, or doesn't fit in memory; the message says so.
    """
    try:
        return Peer(name, load_predictor(location, device_beside()))
    except (OSError, ValueError, ImportError) as error:
        raise InputError(
            "{name}: {location} can't be used: {error}", name=name, location=repr(location), error=error
        ) from error
