"""Relevancy and rollout follow the glimpses, against a derivation with every cell of every map nudged by itself."""

import dataclasses

import numpy as np
import pytest
import torch

from valm_core.explanations import EXPLANATION_METHODS
from valm_core.explanations.attention_rollout import rollout
from valm_core.explanations.gradient_relevancy import propagate
from valm_core.explanations.relevance import readout
from valm_core.explanations.trace import trace_question
from valm_core.model.build import build_model

ANSWER, STEP = 1, 1e-4


@pytest.fixture(params=[False, True], ids=["plain", "similarity"])
def asked(request, tiny_config):
    """A tiny model with glimpses that count, in double precision, one question and one photo of 16 cells."""
    torch.manual_seed(7)
    config = dataclasses.replace(tiny_config, question_head=True, glimpse_width=12, similarity=request.param)
    model = build_model(config, ["red", "green", "blue"]).eval()
    with torch.no_grad():
        for parameter in (*model.fusion.parameters(), *model.head.parameters(), *model.glimpses.parameters()):
            parameter += 0.2 * torch.randn_like(parameter)
        text = model.encode_question(*model.tokenizer(["what color is the square?"], True))
        image = model.encode_image(torch.rand(1, 3, 32, 32))
    model.double()
    text = dataclasses.replace(text, tokens=text.tokens.double(), penultimate=text.penultimate.double())
    return model, text, dataclasses.replace(image, tokens=image.tokens.double())


def score(model, text, image, features, maps=None):
    """The answer's logit where glimpses read ``maps`` in place of the last text-to-image map."""
    place = features.last_text_to_image
    steps = list(features.attention)
    steps[place] = dataclasses.replace(steps[place], weights=steps[place].weights if maps is None else maps)
    features = dataclasses.replace(features, attention=tuple(steps))
    return model.score(features, text.tokens, text.mask, model.prepare(image.tokens, image.grid))[0, ANSWER]


def nudged_glimpses(model, text, image, features):
    """(∂s/∂A ⊙ A)⁺ of the map that glimpses read, by central differences, mean over heads [T, N]."""
    maps = features.attention[features.last_text_to_image].weights.detach()
    weighted = torch.zeros_like(maps)
    with torch.no_grad():
        for place in np.ndindex(*maps.shape):
            higher, lower = maps.clone(), maps.clone()
            higher[place] += STEP
            lower[place] -= STEP
            slope = score(model, text, image, features, higher) - score(model, text, image, features, lower)
            weighted[place] = (slope / (2 * STEP) * maps[place]).clamp_min(0)
    return weighted[0].mean(dim=0)


def test_relevancy_adds_what_each_glimpse_did(asked):
    model, text, image = asked
    tokens, cells = (part.tokens.clone().requires_grad_(True) for part in (text, image))
    features = model.fuse(tokens, text.mask, model.prepare(cells, image.grid), return_attention=True)
    glimpses = nudged_glimpses(model, text, image, features)
    trace = trace_question(model, text, image, ANSWER)
    assert glimpses.max() > 1e-4
    np.testing.assert_allclose(trace.weighted_glimpses, glimpses, atol=1e-6)
    # What the last map did through the layers alone: glimpses read one that has no gradient.
    place = features.last_text_to_image
    cut = score(model, text, image, features, features.attention[place].weights.detach())
    uncut = score(model, text, image, features)
    maps = [step.weights for step in features.attention]
    pooling = (features.text_pooling, features.image_pooling)
    gradients = list(torch.autograd.grad(uncut, maps, retain_graph=True))
    (gradients[place],) = torch.autograd.grad(cut, maps[place], retain_graph=True)
    steps = tuple(
        dataclasses.replace(step, weights=(gradient * step.weights).detach().float().clamp_min(0))
        for step, gradient in zip(features.attention, gradients, strict=True)
    )
    relevance = propagate(dataclasses.replace(features, attention=steps)).numpy()
    whole = torch.autograd.grad(uncut, pooling)
    read = [(slope * part)[0].detach().float().clamp_min(0) for slope, part in zip(whole, pooling, strict=True)]
    length, glimpses = tokens.shape[1], glimpses.numpy()
    counted = torch.cat(read).numpy() @ relevance
    image_map = counted[length:] + glimpses.sum(axis=0)
    token_scores = counted[:length] + glimpses.sum(axis=1) @ relevance[:length, :length]
    token_to_patch = relevance[:length, length:] + glimpses
    found = EXPLANATION_METHODS["gradient_relevancy"](model, text, image, ANSWER, trace)
    np.testing.assert_allclose(found.image_map.ravel(), image_map / image_map.sum(), atol=1e-5)
    np.testing.assert_allclose(found.token_scores, token_scores / token_scores.sum(), atol=1e-5)
    np.testing.assert_allclose(
        found.token_to_patch, token_to_patch / token_to_patch.sum(axis=1, keepdims=True), atol=1e-5
    )


def test_rollout_is_half_glimpses(asked):
    model, text, image = asked
    with torch.no_grad():
        features = model.fuse(text.tokens, text.mask, model.prepare(image.tokens, image.grid), return_attention=True)
        flow = (readout(features) @ rollout(features)).numpy()
    length = text.tokens.shape[1]
    last = [step.weights[0].numpy() for step in features.attention if (step.query, step.key) == ("text", "image")][-1]
    words = features.text_pooling[0].numpy()
    expected = np.zeros(image.tokens.shape[1])
    for head in last:
        for word, cells in enumerate(head):
            expected += 0.5 * words[word] * cells / len(last)
    expected += 0.5 * flow[length:]
    found = EXPLANATION_METHODS["attention_rollout"](model, text, image, ANSWER)
    np.testing.assert_allclose(found.image_map.ravel(), expected / expected.sum(), atol=1e-5)
    np.testing.assert_allclose(found.token_scores, flow[:length] / flow[:length].sum(), atol=1e-5)
