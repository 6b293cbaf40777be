"""Raw attention: exactly the mean of the model's own weights, put together as the answer vector is."""

import numpy as np
import pytest
import torch

from valm_core.explanations import EXPLANATION_METHODS
from valm_core.explanations.raw_attention import raw_attention
from valm_core.method_names import DEFAULT_METHOD


@pytest.fixture
def question_and_photo(tiny_model):
    torch.manual_seed(0)
    with torch.no_grad():
        text = tiny_model.encode_question(*tiny_model.tokenizer(["what color is the square?"]))
        return text, tiny_model.encode_image(torch.rand(1, 3, 32, 32))


def test_it_is_listed_and_the_default_is_too():
    assert EXPLANATION_METHODS["raw_attention"] is raw_attention
    assert DEFAULT_METHOD in EXPLANATION_METHODS


def test_maps_are_distributions(tiny_model, question_and_photo):
    explanation = raw_attention(tiny_model, *question_and_photo, 0)
    tokens = question_and_photo[0].tokens.shape[1]
    assert explanation.text_to_image.shape == (2, 2, tokens, 16)
    assert explanation.image_to_text.shape == (2, 2, 16, tokens)
    assert explanation.image_map.shape == (4, 4)
    for sums in (
        explanation.image_map.sum(),
        explanation.token_scores.sum(),
        explanation.token_to_patch.sum(axis=1),
        explanation.patch_to_token.sum(axis=1),
    ):
        np.testing.assert_allclose(sums, 1, atol=1e-5)


def test_the_whole_questions_map_follows_gate_and_pooling(tiny_model, question_and_photo):
    text, image = question_and_photo
    explanation = raw_attention(tiny_model, text, image, 0)
    with torch.no_grad():
        features = tiny_model(
            text_tokens=text.tokens, text_mask=text.mask, image_tokens=image.tokens, return_attention=True
        ).features
    layers = [step.weights[0] for step in features.attention if (step.query, step.key) == ("text", "image")]
    expected = np.zeros(16)
    for token in range(text.tokens.shape[1]):
        looked = np.mean([layer[head, token].numpy() for layer in layers for head in range(2)], axis=0)
        expected += features.gate.item() * features.text_pooling[0, token].item() * looked
    expected += (1 - features.gate.item()) * features.image_pooling[0].numpy()
    np.testing.assert_allclose(explanation.image_map.flatten(), expected, atol=1e-6)
