"""Trace: one forward and at most one gradient pass for all quick methods, the same maps, nothing left on modules."""

import numpy as np
import pytest
import torch

from valm_core.answering import encode_questions
from valm_core.evidence.rules import rank_correlation
from valm_core.explanations import EXPLANATION_METHODS
from valm_core.explanations.trace import trace_question

QUESTION = "what color is the square?"
QUICK = ("raw_attention", "attention_rollout", "grad_cam", "gradient_relevancy")


@pytest.fixture
def passes(tiny_predictor, monkeypatch):
    """How many passes through the fusion and gradient passes were made."""
    counts = {"forward": 0, "gradient": 0}

    def counted(function, name):
        def counting(*arguments, **named):
            counts[name] += 1
            return function(*arguments, **named)

        return counting

    fusion = type(tiny_predictor.model.fusion)
    monkeypatch.setattr(fusion, "forward", counted(fusion.forward, "forward"))
    monkeypatch.setattr(torch.autograd, "grad", counted(torch.autograd.grad, "gradient"))
    return counts


@pytest.fixture
def image(tiny_predictor):
    noise = np.random.default_rng(5).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    from PIL import Image

    return tiny_predictor.encode(Image.fromarray(noise))


@pytest.mark.parametrize("method", [*QUICK, "random", "center"])
def test_ask_takes_four_passes_and_one_gradient_pass(tiny_predictor, image, passes, method):
    tiny_predictor.ask(image, QUESTION, method)
    assert passes == {"forward": 4, "gradient": 1}  # answer, blind answer, trace, hiding; the trace's gradients


def test_attention_alone_needs_no_gradient_pass(tiny_predictor, image, passes):
    for method in ("raw_attention", "attention_rollout", "occlusion"):
        tiny_predictor.explain(image, QUESTION, method, "red")
    assert passes["gradient"] == 0


def test_one_trace_gives_every_method_the_map_it_gives_alone(tiny_predictor, image, passes):
    model = tiny_predictor.model
    _, text = encode_questions(tiny_predictor.model, [QUESTION])
    trace = trace_question(model, text, image, 1)
    shared = {name: method(model, text, image, 1, trace) for name, method in EXPLANATION_METHODS.items()}
    # occlusion asks twice more: for each of 16 cells, and for blocks of them
    assert passes["gradient"] == 1 and passes["forward"] > 1
    asked = passes["forward"]
    trace_question(model, text, image, 1)
    assert passes["forward"] == asked + 1
    for name, method in EXPLANATION_METHODS.items():
        alone = method(model, text, image, 1)
        for part in ("image_map", "token_scores", "token_to_patch", "patch_to_token", "text_to_image", "image_to_text"):
            np.testing.assert_allclose(getattr(shared[name], part), getattr(alone, part), atol=1e-7, err_msg=name)


def test_ask_is_what_explain_and_evidence_give(tiny_predictor, image):
    for method in (*QUICK, "occlusion"):
        prediction, explanation, evidence = tiny_predictor.ask(image, QUESTION, method)
        answer = prediction.answers[0].text
        alone = tiny_predictor.explain(image, QUESTION, method, answer)
        np.testing.assert_allclose(explanation.image_map, alone.image_map, atol=1e-7)
        others = [
            tiny_predictor.explain(image, QUESTION, other, answer).image_map for other in QUICK if other != method
        ]
        expected = np.mean([rank_correlation(alone.image_map, other) for other in others])
        assert evidence.agreement == pytest.approx(expected, abs=1e-6)
        assert evidence == tiny_predictor.evidence(image, QUESTION, method, answer)


def test_nothing_is_left_on_the_model(tiny_predictor, image):
    model = tiny_predictor.model

    def left() -> dict:
        hooks = {name: (len(part._forward_hooks), len(part._backward_hooks)) for name, part in model.named_modules()}
        return hooks | {(name, "names"): set(vars(part)) for name, part in model.named_modules()}

    tiny_predictor.answer(image, QUESTION)  # transformers keeps settings and hooks from its first forward pass on
    before = left()
    tiny_predictor.ask(image, QUESTION)
    assert left() == before
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not image.tokens.requires_grad
