"""What lies between text and image, read out of every family's list of maps, against cases worked by hand."""

import dataclasses

import pytest
import torch

from valm_core.explanations.attention_maps import cross_modal_maps, question_map
from valm_core.model.fusion.families import FUSIONS
from valm_core.outputs import AttentionMap, FusedFeatures


def features_with(*maps: AttentionMap, gate: float = 0.5) -> FusedFeatures:
    """Features of one example with two text tokens and three cells."""
    return FusedFeatures(
        fused=torch.zeros(1, 4),
        text=torch.zeros(1, 4),
        image=torch.zeros(1, 4),
        gate=torch.tensor([gate]),
        text_tokens=torch.zeros(1, 2, 4),
        image_tokens=torch.zeros(1, 3, 4),
        text_pooling=torch.tensor([[0.25, 0.75]]),
        image_pooling=torch.tensor([[0.5, 0.5, 0.0]]),
        attention=maps,
    )


def test_cross_maps_are_stacked_by_layer_and_others_left_out():
    first = torch.tensor([[[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]])  # [B, H, T, N] = [1, 1, 2, 3]
    second = torch.tensor([[[[0.2, 0.3, 0.5], [0.0, 0.0, 1.0]]]])
    back = torch.tensor([[[[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]]]])  # [1, 1, 3, 2]
    features = features_with(
        AttentionMap(first, "text", "image", 0),
        AttentionMap(back, "image", "text", 0),
        AttentionMap(torch.eye(2)[None, None], "text", "text", 0),
        AttentionMap(second, "text", "image", 1),
        AttentionMap(back, "image", "text", 1),
    )
    text_to_image, image_to_text = cross_modal_maps(features)
    assert torch.equal(text_to_image, torch.stack([first, second], dim=1))
    assert torch.equal(image_to_text, torch.stack([back, back], dim=1))


def test_of_a_joint_map_the_cross_blocks_are_cut_out_and_scaled():
    joint = torch.tensor(
        [
            [0.5, 0.1, 0.1, 0.1, 0.2],  # the first word: 0.4 of it on the cells
            [0.2, 0.8, 0.0, 0.0, 0.0],  # the second word looks at no cell at all
            [0.1, 0.3, 0.6, 0.0, 0.0],
            [0.0, 0.2, 0.0, 0.8, 0.0],
            [0.5, 0.5, 0.0, 0.0, 0.0],
        ]
    )[None, None]
    text_to_image, image_to_text = cross_modal_maps(features_with(AttentionMap(joint, "joint", "joint", 0)))
    torch.testing.assert_close(text_to_image[0, 0, 0], torch.tensor([[0.25, 0.25, 0.5], [0.0, 0.0, 0.0]]))
    torch.testing.assert_close(image_to_text[0, 0, 0], torch.tensor([[0.25, 0.75], [0.0, 1.0], [0.5, 0.5]]))


def test_the_question_map_follows_gate_and_pooling():
    maps = torch.zeros(1, 2, 1, 2, 3)  # [B, L, H, T, N]; the mean over the two layers is what counts
    maps[0, :, 0, 0] = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    maps[0, :, 0, 1] = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    found = question_map(features_with(gate=0.8), maps)
    # text: 0.25 * (0.5, 0.5, 0) + 0.75 * (0, 0, 1); then 0.8 * text + 0.2 * (0.5, 0.5, 0)
    torch.testing.assert_close(found, torch.tensor([[0.2, 0.2, 0.6]]))


def test_without_maps_the_remedy_is_named():
    with pytest.raises(ValueError, match="return_attention=True"):
        cross_modal_maps(features_with())


@pytest.mark.parametrize("family", sorted(FUSIONS))
def test_every_family_gives_rows_that_sum_to_one(tiny_config, family):
    torch.manual_seed(0)
    fusion = FUSIONS[family](dataclasses.replace(tiny_config, fusion=family)).eval()
    mask = torch.tensor([[True, True, True], [True, False, False]])
    features = fusion(torch.randn(2, 3, 16), mask, torch.randn(2, 4, 16), (2, 2), return_attention=True)
    text_to_image, image_to_text = cross_modal_maps(features)
    layers, heads = (1, 1) if family == "dual_tower" else (2, 2)
    assert text_to_image.shape == (2, layers, heads, 3, 4) and image_to_text.shape == (2, layers, heads, 4, 3)
    for maps in (text_to_image, image_to_text, question_map(features, text_to_image)):
        torch.testing.assert_close(maps.sum(dim=-1), torch.ones(maps.shape[:-1]))
    assert (image_to_text[1, ..., 1:] == 0).all()
