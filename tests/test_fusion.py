"""Bi-attention layers, the gate, 2-D positions."""

import pytest
import torch

from valm_core.fusion import BiAttentionLayer, GatedFusion, sine_positions


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return BiAttentionLayer(width=8, heads=2, feed_forward_ratio=2.0, dropout=0.0).eval()


def cross_maps(layer, text, image):
    mask = torch.ones(text.shape[:2], dtype=torch.bool)
    _, _, maps = layer(text, mask, image, 0, True)
    return {(step.query, step.key): step.weights for step in maps}


@pytest.mark.parametrize(
    ("changed", "same"), [("text_to_image", ("image", "text")), ("image_to_text", ("text", "image"))]
)
def test_both_directions_read_what_entered_the_layer(layer, changed, same):
    text, image = torch.randn(1, 3, 8), torch.randn(1, 4, 8)
    before = cross_maps(layer, text, image)
    for parameter in getattr(layer, changed).parameters():
        torch.nn.init.normal_(parameter, std=3.0)
    after = cross_maps(layer, text, image)
    assert torch.equal(before[same], after[same])
    assert not torch.allclose(before[same[::-1]], after[same[::-1]])


def test_the_fused_vector_is_the_gated_mix_of_the_normed_streams():
    torch.manual_seed(0)
    gate = GatedFusion(8)
    text, image = torch.randn(5, 8), torch.randn(5, 8)
    fused, share = gate(text, image)
    assert ((share > 0) & (share < 1)).all()
    expected = share[:, None] * gate.text_norm(text) + (1 - share[:, None]) * gate.image_norm(image)
    torch.testing.assert_close(fused, expected)


def test_a_wide_open_gate_lets_only_the_text_through():
    gate = GatedFusion(8)
    torch.nn.init.zeros_(gate.gate.weight)
    torch.nn.init.constant_(gate.gate.bias, 50.0)
    text = torch.randn(2, 8)
    torch.testing.assert_close(gate(text, torch.randn(2, 8))[0], gate.text_norm(text))


def test_every_cell_has_a_position_of_its_own():
    positions = sine_positions(7, 5, 16)
    assert positions.shape == (35, 16)
    distances = torch.cdist(positions, positions) + torch.eye(35) * 10
    assert distances.min() > 1e-2


def test_positions_encode_rows_in_one_half_and_columns_in_the_other():
    positions = sine_positions(3, 4, 8).view(3, 4, 8)
    assert (positions[1, :, :4] == positions[1, :1, :4]).all()
    assert (positions[:, 2, 4:] == positions[:1, 2, 4:]).all()


def test_positions_need_a_width_that_4_divides():
    with pytest.raises(ValueError, match="width is 10"):
        sine_positions(2, 2, 10)
