"""Hugging Face ZeroGPU: the model's calls as module-level functions that borrow a GPU; elsewhere nothing changes."""

from types import SimpleNamespace
from typing import cast

from demo.settings import gpu_seconds, on_zero_gpu
from valm_core.outputs import Predictor

PROPERTIES = ("answers", "facts", "offers", "explanation_methods", "attention_heads")

_predictor = cast(Predictor, None)  # set once, by lend()


def borrowing_gpu(function):
    """``function`` under ``spaces.GPU`` on a ZeroGPU Space, the function itself anywhere else."""
    if not on_zero_gpu():
        return function
    import spaces

    return spaces.GPU(duration=gpu_seconds())(function)


@borrowing_gpu
def encode(photo):
    """``VqaPredictor.encode`` of the lent predictor."""
    return _predictor.encode(photo)


@borrowing_gpu
def answer(image, question, top=5):
    """``VqaPredictor.answer`` of the lent predictor."""
    return _predictor.answer(image, question, top)


@borrowing_gpu
def write(image, question, top=5):
    """``TransformersPredictor.write`` of the lent predictor: a generator, as ZeroGPU asks of what comes in parts."""
    yield from _predictor.write(image, question, top)


@borrowing_gpu
def ask(image, question, method=None, answer=None, top=5, prediction=None, weigh=True):
    """``VqaPredictor.ask`` of the lent predictor: one borrowing for all, whatever ``weigh`` says."""
    return _predictor.ask(image, question, method, answer, top, prediction)


@borrowing_gpu
def explain(image, question, method=None, answer=None):
    """``VqaPredictor.explain`` of the lent predictor."""
    return _predictor.explain(image, question, method, answer)


@borrowing_gpu
def word_evidence(image, question, word, method=None, answer=None, explanation=None):
    """``VqaPredictor.word_evidence`` of the lent predictor."""
    return _predictor.word_evidence(image, question, word, method, answer, explanation)


@borrowing_gpu
def what_if(*arguments, **changes):
    """``VqaPredictor.what_if`` of the lent predictor."""
    return _predictor.what_if(*arguments, **changes)


@borrowing_gpu
def counterfactual(image, question, answer=None):
    """``VqaPredictor.counterfactual`` of the lent predictor."""
    return _predictor.counterfactual(image, question, answer)


def lend(predictor: Predictor) -> Predictor:
    """The predictor to give to the page: itself, or on ZeroGPU the functions above in its place."""
    global _predictor
    if not on_zero_gpu():
        return predictor
    _predictor = predictor
    borrowing = (encode, answer, write, ask, explain, word_evidence, what_if, counterfactual)
    calls = {function.__name__: function for function in borrowing}
    without_gpu = ("open_photo", "concepts", "masks", "track_record", "notice", *PROPERTIES)
    needs_no_gpu = {name: getattr(predictor, name) for name in without_gpu}
    return cast(Predictor, SimpleNamespace(**calls, **needs_no_gpu))
