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
def explain(encoded, question, method=None, answer=None):
    """``VqaPredictor.explain`` of the lent predictor."""
    return _predictor.explain(encoded, question, method, answer)


@borrowing_gpu
def evidence(encoded, question, method=None, answer=None, explanation=None):
    """``VqaPredictor.evidence`` of the lent predictor."""
    return _predictor.evidence(encoded, question, method, answer, explanation)


def lend(predictor):
    """The predictor to give to the page: itself, or on ZeroGPU the functions above in its place."""
    global _predictor
    if not os.environ.get("SPACES_ZERO_GPU"):
        return predictor
    _predictor = predictor
    calls = {"encode": encode, "answer": answer, "explain": explain, "evidence": evidence}
    return SimpleNamespace(open_photo=predictor.open_photo, **calls)
