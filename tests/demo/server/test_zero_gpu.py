"""ZeroGPU, simulated: what needs a GPU borrows one, the model is there before, nothing else is changed."""

import functools
import importlib
import sys
from types import ModuleType

import pytest
from fake_predictor import FakePredictor
from PIL import Image

from demo.server import zero_gpu
from valm_core.outputs import NotOffered, Prediction


@pytest.fixture
def borrowed(monkeypatch):
    """The names of the calls that borrowed a GPU, and for how many seconds, on a simulated Space."""
    calls = []

    def gpu(duration):
        def decorate(function):
            @functools.wraps(function)
            def lent(*arguments, **named):
                calls.append((function.__name__, duration))
                return function(*arguments, **named)

            return lent

        return decorate

    spaces = ModuleType("spaces")
    spaces.GPU = gpu
    monkeypatch.setitem(sys.modules, "spaces", spaces)
    monkeypatch.setenv("SPACES_ZERO_GPU", "1")
    monkeypatch.setenv("VALM_GPU_SECONDS", "90")
    importlib.reload(zero_gpu)
    yield calls
    monkeypatch.undo()
    importlib.reload(zero_gpu)


class Writing(FakePredictor):
    """A predictor that writes its answer in two parts."""

    offers = FakePredictor.offers | {"write"}

    def write(self, image, question, top=5):
        """A word, and the whole."""
        yield "a"
        yield self.answer(image, question, top)


def test_every_call_of_the_model_borrows_a_gpu(borrowed):
    predictor = zero_gpu.lend(Writing())
    image = predictor.encode(Image.new("RGB", (20, 20)))
    prediction, explanation, _ = predictor.ask(image, "what is it?")
    first, whole = predictor.write(image, "what is it?")
    assert first == "a" and isinstance(whole, Prediction) and whole.answers == prediction.answers
    predictor.what_if(image, "what is it?", hidden_words=[0])
    predictor.explain(image, "what is it?")
    assert [name for name, _ in borrowed] == ["encode", "ask", "write", "what_if", "explain"]
    assert {seconds for _, seconds in borrowed} == {90}
    assert predictor.offers == Writing.offers and explanation.tokens == ("what", "is", "it?")
    assert predictor.open_photo(Image.new("RGB", (20, 20))).size == (20, 20) and len(borrowed) == 5


def test_elsewhere_the_predictor_is_lent_as_it_is():
    predictor = FakePredictor()
    assert zero_gpu.lend(predictor) is predictor
    with pytest.raises(NotOffered):
        predictor.write(None, "what is it?")
