"""The three families under one contract, bi-attention layers, the gate, 2-D positions."""

import dataclasses

import pytest
import torch

from training.datasets.questions import QuestionDataset
from training.datasets.readers.jsonl import read_rows
from valm_core.checkpoints.storage import load_checkpoint, save_checkpoint
from valm_core.learning.losses import answer_loss
from valm_core.model.build import build_model
from valm_core.model.fusion.bi_attention import BiAttentionLayer, WordCellSimilarity
from valm_core.model.fusion.families import FUSIONS
from valm_core.model.fusion.streams import GatedFusion, sine_positions

ROWS, COLUMNS = 2, 3
FAMILIES = sorted(FUSIONS)


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


# ---- the contract that every family keeps ----------------------------------------------------------------------------


@pytest.fixture
def build(tiny_config):
    """Build a family with random weights and sharpened attention: build(family, **settings)."""

    def make(family: str, **settings):
        torch.manual_seed(0)
        fusion = FUSIONS[family](dataclasses.replace(tiny_config, fusion=family, **settings)).eval()
        for parameter in fusion.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.5)
        return fusion

    return make


@pytest.fixture
def streams():
    """Text [3, 5, 16] with 5, 3 and 1 real tokens, its mask, and image [3, 6, 16]."""
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(5) < torch.tensor([[5], [3], [1]])
    return (
        torch.randn(3, 5, 16, generator=generator),
        mask,
        torch.randn(3, ROWS * COLUMNS, 16, generator=generator),
    )


def fuse(fusion, streams, return_attention: bool = True):
    with torch.no_grad():
        return fusion(*streams, (ROWS, COLUMNS), return_attention)


@pytest.mark.parametrize("family", FAMILIES)
def test_shapes_and_sums(build, streams, family):
    features = fuse(build(family), streams)
    assert features.fused.shape == features.text.shape == features.image.shape == (3, 16)
    assert features.text_tokens.shape == (3, 5, 16) and features.image_tokens.shape == (3, 6, 16)
    assert features.gate.shape == (3,) and ((features.gate > 0) & (features.gate < 1)).all()
    for pooling, length in ((features.text_pooling, 5), (features.image_pooling, 6)):
        assert pooling.shape == (3, length)
        torch.testing.assert_close(pooling.sum(dim=1), torch.ones(3))
    lengths = {"text": 5, "image": 6, "joint": 11}
    assert [step.layer for step in features.attention] == sorted(step.layer for step in features.attention)
    for step in features.attention:
        assert step.weights.shape[-2:] == (lengths[step.query], lengths[step.key])
        assert step.weights.shape[1] == (1 if step.kind == "similarity" else 2)
        torch.testing.assert_close(step.weights.sum(dim=-1), torch.ones(step.weights.shape[:-1]))


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_is_neither_read_nor_pooled(build, streams, family):
    fusion, (text, mask, image) = build(family), streams
    features = fuse(fusion, streams)
    assert (features.text_pooling[~mask] == 0).all()
    for step in features.attention:
        if step.key in ("text", "joint"):
            to_text = step.weights[..., :5].transpose(1, 3)  # [B, T_key, T_query, H]
            assert (to_text[~mask] == 0).all()
    other = fuse(fusion, (torch.where(mask[..., None], text, 100.0), mask, image))
    for name in ("fused", "text", "image", "gate", "image_tokens"):
        torch.testing.assert_close(getattr(other, name), getattr(features, name))
    torch.testing.assert_close(other.text_tokens[mask], features.text_tokens[mask])


@pytest.mark.parametrize("family", FAMILIES)
def test_asking_for_the_maps_changes_no_feature(build, streams, family):
    fusion = build(family)
    fast, explained = fuse(fusion, streams, False), fuse(fusion, streams)
    assert fast.attention == () and explained.attention
    for field in dataclasses.fields(fast):
        if field.name != "attention":
            torch.testing.assert_close(
                getattr(fast, field.name), getattr(explained, field.name), atol=1e-5, rtol=1e-4, msg=field.name
            )


@pytest.mark.parametrize("family", FAMILIES)
def test_the_place_of_a_cell_counts(build, streams, family):
    fusion, (text, mask, image) = build(family), streams
    here, there = fuse(fusion, (text, mask, image)), fuse(fusion, (text, mask, image.flip(1)))
    assert not torch.allclose(here.fused, there.fused, atol=1e-3)


def test_the_joint_pooling_splits_into_gate_and_streams(build, streams):
    features = fuse(build("concatenation"), streams)
    gate = features.gate[:, None]
    torch.testing.assert_close(features.fused, gate * features.text + (1 - gate) * features.image)
    assert features.gate.std() > 1e-3


def test_the_towers_do_not_see_each_other(build, streams):
    fusion, (text, mask, image) = build("dual_tower"), streams
    before = fuse(fusion, streams)
    other_photo, other_text = fuse(fusion, (text, mask, -image)), fuse(fusion, (-text, mask, image))
    for name in ("text", "text_tokens", "text_pooling"):
        assert torch.equal(getattr(other_photo, name), getattr(before, name)), name
    for name in ("image", "image_tokens", "image_pooling"):
        assert torch.equal(getattr(other_text, name), getattr(before, name)), name
    for changed in (other_photo, other_text):
        assert not torch.allclose(changed.fused, before.fused, atol=1e-3)


@pytest.mark.parametrize("family", ["bi_attention", "concatenation"])
def test_the_other_families_do_see_across(build, streams, family):
    fusion, (text, mask, image) = build(family), streams
    before, other_photo = fuse(fusion, streams), fuse(fusion, (text, mask, -image))
    assert not torch.allclose(other_photo.text_tokens[mask], before.text_tokens[mask], atol=1e-3)


def test_the_maps_come_in_computation_order_and_are_named(build, streams):
    kinds = {
        family: [(step.query, step.key, step.layer, step.kind) for step in fuse(build(family), streams).attention]
        for family in FAMILIES
    }
    assert kinds["concatenation"] == [("joint", "joint", layer, "attention") for layer in (0, 1)]
    steps = [("text", "image"), ("image", "text"), ("text", "text"), ("image", "image")]
    assert kinds["bi_attention"] == [(*step, layer, "attention") for layer in (0, 1) for step in steps]
    assert kinds["dual_tower"] == [
        *((side, side, layer, "attention") for layer in (0, 1) for side in ("text", "image")),
        ("text", "image", 1, "similarity"),
        ("image", "text", 1, "similarity"),
    ]


def test_the_similarity_map_is_a_softmax_over_cosines(build, streams):
    features = fuse(build("dual_tower"), streams)
    text_to_image = features.attention[-2].weights[:, 0]
    cosine = torch.cosine_similarity(features.text_tokens[:, :, None], features.image_tokens[:, None], dim=-1)
    torch.testing.assert_close(text_to_image, (10 * cosine).softmax(dim=-1))


@pytest.mark.parametrize("family", FAMILIES)
def test_it_learns_the_toy_set_and_comes_back_exactly_from_its_checkpoint(
    tiny_config, colored_squares, tmp_path, family
):
    torch.manual_seed(0)
    config = dataclasses.replace(tiny_config, fusion=family)
    model = build_model(config, ["red", "green", "blue", "yellow", "yes", "no"])
    dataset = QuestionDataset(read_rows(colored_squares), model)
    batch = dataset.collate(list(range(8)))
    targets = batch.pop("targets")
    del batch["photo_ids"]
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    model.train()
    for _ in range(80):
        answer_loss(model(**batch).logits, targets).backward()
        optimizer.step()
        optimizer.zero_grad()
    save_checkpoint(model.eval(), tmp_path / "model")
    loaded = load_checkpoint(tmp_path / "model")
    with torch.no_grad():
        expected, found = model(**batch).logits, loaded(**batch).logits
    assert loaded.config.fusion == family and torch.equal(found, expected)
    assert torch.equal(found.argmax(dim=1), targets.argmax(dim=1))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_head_that_is_named_can_be_silenced_and_no_other_changes_the_features(build, streams, family):
    fusion = build(family)
    steps = {f"{step.query}_to_{step.key}" for step in fuse(fusion, streams).attention if step.kind == "attention"}
    assert steps == set(fusion.STEPS)
    with torch.no_grad():
        usual = fusion(*streams, (ROWS, COLUMNS)).fused
        for step in fusion.STEPS:
            silenced = fusion(*streams, (ROWS, COLUMNS), masked_heads=[(step, 0, 1)]).fused
            assert not torch.allclose(silenced, usual)
        assert torch.equal(fusion(*streams, (ROWS, COLUMNS), masked_heads=[("elsewhere", 0, 1)]).fused, usual)


# ---- similarity of words and cells -----------------------------------------------------------------------------------


@pytest.fixture
def similar_layer():
    torch.manual_seed(0)
    return BiAttentionLayer(width=8, heads=2, feed_forward_ratio=2.0, dropout=0.0, similarity=True).eval()


def test_the_similarity_of_words_and_cells_is_a_scaled_cosine():
    torch.manual_seed(0)
    module = WordCellSimilarity(6, 5, 4)
    words, cells = torch.randn(2, 3, 6), torch.randn(2, 7, 5)
    found = module(words, cells)
    for text in range(2):
        for word in range(3):
            for cell in range(7):
                one, other = module.word(words[text, word]), module.cell(cells[text, cell])
                expected = 10 * (one @ other) / (one.norm() * other.norm())
                torch.testing.assert_close(found[text, word, cell], expected, atol=1e-5, rtol=1e-4)
    torch.nn.init.constant_(module.log_scale, 20.0)
    assert module(words, cells).abs().max() <= 30 + 1e-4


def test_similarity_draws_a_planted_word_to_a_planted_cell(similar_layer):
    text, image, mask = torch.randn(1, 3, 8), torch.randn(1, 4, 8), torch.ones(1, 3, dtype=torch.bool)
    planted = torch.zeros(1, 3, 4)
    planted[0, 1, 2] = 12.0
    _, _, (without, *_) = similar_layer(text, mask, image, 0, True, (), torch.zeros(1, 3, 4))
    _, _, (with_it, *_) = similar_layer(text, mask, image, 0, True, (), planted)
    assert (with_it.weights[0, :, 1, 2] > 0.99).all() and (without.weights[0, :, 1, 2] < 0.6).all()
    torch.testing.assert_close(with_it.weights[0, :, [0, 2]], without.weights[0, :, [0, 2]])


def test_a_word_reads_how_similar_its_cells_are(similar_layer):
    """A similarity that is the same for all cells leaves the map, and is read nevertheless."""
    text, image, mask = torch.randn(1, 3, 8), torch.randn(1, 4, 8), torch.ones(1, 3, dtype=torch.bool)
    none, low, _ = similar_layer(text, mask, image, 0, False, (), torch.zeros(1, 3, 4))
    same, high, _ = similar_layer(text, mask, image, 0, False, (), torch.full((1, 3, 4), 5.0))
    assert not torch.allclose(none, same, atol=1e-3)
    torch.testing.assert_close(low, high)  # cells hear of it in the next layer


def test_silent_heads_add_nothing_to_what_similarity_reads(similar_layer):
    mask = torch.ones(1, 3, dtype=torch.bool)
    text, images = torch.randn(1, 3, 8), torch.randn(2, 1, 4, 8)
    similarities = 5 * torch.randn(2, 1, 3, 4)
    silent = [("text_to_image", 0, head) for head in (0, 1)]
    first, second = (
        similar_layer(text, mask, image, 0, False, silent, similarity)[0]
        for image, similarity in zip(images, similarities, strict=True)
    )
    assert torch.equal(first, second)
    before = similar_layer(text, mask, images[0], 0, False, silent[:1], similarities[0])[0]
    with torch.no_grad():
        similar_layer.similarity_weight[0] = 7.0
        similar_layer.similarity_value.weight[:, 0] = 7.0
    assert torch.equal(similar_layer(text, mask, images[0], 0, False, silent[:1], similarities[0])[0], before)
    assert not torch.equal(similar_layer(text, mask, images[0], 0, False, (), similarities[0])[0], before)
