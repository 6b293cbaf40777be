"""Hugging Face ZeroGPU: the model's calls as module-level functions that borrow a GPU; elsewhere nothing changes."""

import os
from types import SimpleNamespace

_predictor = None  # set once, by lend()


def borrowing_gpu(function):
    """``function`` under ``spaces.GPU`` on a ZeroGPU Space, the function itself anywhere else."""
    if not os.environ.get("SPACES_ZERO_GPU"):
        return function
    import spaces

    return spaces.GPU(duration=30)(function)


@borrowing_gpu
def encode(photo):
    """``VqaPredictor.encode`` of the lent predictor."""
    return _predictor.encode(photo)


@borrowing_gpu
def answer(encoded, question, top=5):
    """``VqaPredictor.answer`` of the lent predictor."""
    return _predictor.answer(encoded, question, top)


@borrowing_gpu
def ask(encoded, question, method=None, answer=None, top=5, prediction=None):
    """``VqaPredictor.ask`` of the lent predictor: one borrowing for answers, map and evidence."""
    return _predictor.ask(encoded, question, method, answer, top, prediction)


@borrowing_gpu
def explain(encoded, question, method=None, answer=None):
    """``VqaPredictor.explain`` of the lent predictor."""
    return _predictor.explain(encoded, question, method, answer)


@borrowing_gpu
def what_if(*arguments, **changes):
    """``VqaPredictor.what_if`` of the lent predictor."""
    return _predictor.what_if(*arguments, **changes)


@borrowing_gpu
def counterfactual(encoded, question, answer=None):
    """``VqaPredictor.counterfactual`` of the lent predictor."""
    return _predictor.counterfactual(encoded, question, answer)


def lend(predictor):
    """The predictor to give to the page: itself, or on ZeroGPU the functions above in its place."""
    global _predictor
    if not os.environ.get("SPACES_ZERO_GPU"):
        return predictor
    _predictor = predictor
    borrowing = (encode, answer, ask, explain, what_if, counterfactual)
    calls = {function.__name__: function for function in borrowing}
    without_gpu = ("open_photo", "masks", "attention_heads", "facts", "track_record")
    needs_no_gpu = {name: getattr(predictor, name) for name in without_gpu}
    return SimpleNamespace(**calls, **needs_no_gpu)
