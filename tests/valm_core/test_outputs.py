"""The Predictor protocol: whoever answers on the page has its methods, under the same names and defaults."""

import inspect

import pytest
from fake_predictor import FakePredictor

from valm_core.asking import not_offered
from valm_core.exported.model import ExportedModel
from valm_core.exported.predictor import OnnxPredictor
from valm_core.outputs import OFFERS, NotOffered, Predictor
from valm_core.predictor import VqaPredictor
from valm_core.vision_language.predictor import TransformersPredictor

PREDICTORS = (VqaPredictor, OnnxPredictor, TransformersPredictor, FakePredictor)
METHODS = [name for name, value in vars(Predictor).items() if inspect.isfunction(value) and not name.startswith("_")]
PROPERTIES = [name for name, value in vars(Predictor).items() if isinstance(value, property)]


def parameters(method) -> list[tuple]:
    """Name, kind and default of each parameter, in order."""
    return [(part.name, part.kind, part.default) for part in inspect.signature(method).parameters.values()]


def test_the_protocol_names_what_the_page_needs():
    needed = {"open_photo", "encode", "answer", "ask", "explain", "evidence", "what_if", "counterfactual"}
    assert needed <= set(METHODS) and set(OFFERS) <= set(METHODS)
    assert {"answers", "facts", "offers", "explanation_methods", "attention_heads"} == set(PROPERTIES)


@pytest.mark.parametrize("predictor", PREDICTORS, ids=lambda predictor: predictor.__name__)
@pytest.mark.parametrize("method", METHODS)
def test_every_predictor_has_the_methods_of_the_protocol_or_says_that_it_has_not(predictor, method):
    if getattr(predictor, method).__qualname__.startswith(not_offered.__name__):
        assert method in OFFERS
        with pytest.raises(NotOffered):
            getattr(predictor, method)(None, "what is it?")
    else:
        assert parameters(getattr(predictor, method)) == parameters(getattr(Predictor, method))


def test_every_predictor_says_what_it_can_do(tiny_model):
    import numpy as np
    import torch

    exported = OnnxPredictor(ExportedModel({}, {"answers": ["yes"], "temperature": 1.0}, None, np.zeros(1)))
    for predictor in (VqaPredictor(tiny_model, torch.device("cpu")), exported, FakePredictor()):
        assert predictor.notice == "" and isinstance(predictor.answers, list) and predictor.answers
        assert isinstance(predictor.offers, frozenset) and predictor.offers <= set(OFFERS)
        assert isinstance(predictor.explanation_methods, tuple) and predictor.explanation_methods
        assert all(len(head) == 3 for head in predictor.attention_heads)
    for refused in set(OFFERS) - exported.offers:
        with pytest.raises(NotOffered):
            getattr(exported, refused)(None, "what is it?")
