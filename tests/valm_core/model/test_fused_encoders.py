"""Texts with and without photos through every fusion: shapes, what stands in for no photo, what a label depends on."""

import dataclasses

import pytest
import torch
from safetensors.torch import load_file

from valm_core.checkpoints.shared import shared_sha256, stored_image_encoder
from valm_core.checkpoints.storage import load_task_checkpoint, save_checkpoint
from valm_core.model.build import build_model, build_task_model
from valm_core.model.fusion.families import FUSIONS

TEXTS = ["what color is the square?", "is there any red?"]


@pytest.fixture(params=[*FUSIONS, "text"])
def model(request, tiny_config):
    config = dataclasses.replace(
        tiny_config, task="feel", fusion=request.param, similarity=request.param == "bi_attention"
    )
    torch.manual_seed(0)
    built = build_task_model(config, ["good", "bad"]).eval()
    if built.sees_photos:
        built.mean_image_token.normal_()
    return built


def test_texts_and_photos_give_tokens_a_vector_and_maps(model):
    ids, mask = model.tokenizer(TEXTS)
    pixels = torch.rand(2, 3, 32, 32)
    features = model.encode(mask, ids, pixels=pixels, return_attention=True)
    assert features.text_tokens.shape == (2, ids.shape[1], 16)
    assert features.fused.shape == (2, 16)
    assert bool(features.attention) == model.sees_photos
    assert model.encode(mask, ids, pixels=pixels).attention == ()
    tokens = model.text_encoder.read(mask, ids)
    again = model.encode(mask, text_tokens=tokens, image_tokens=model.image_encoder(pixels))
    assert torch.allclose(again.fused, features.fused, atol=1e-5)


def test_a_text_without_photo_gets_the_mean_one_whatever_the_others_have(model):
    ids, mask = model.tokenizer([TEXTS[0]] * 3)
    pixels = torch.rand(1, 3, 32, 32)
    mixed = model(mask, ids, pixels=pixels, photo_index=torch.tensor([0, -1, -1]))[0]
    assert torch.allclose(mixed[1], mixed[2])
    alone = model(mask[:1], ids[:1], pixels=pixels)[0]
    assert torch.allclose(mixed[0], alone[0], atol=1e-5)
    assert torch.equal(mixed[0], mixed[1]) == (not model.sees_photos)
    assert model(mask, ids)[0].shape == (3, 2)


def test_it_is_saved_with_its_labels_and_loaded_as_it_was(model, tmp_path):
    save_checkpoint(model, tmp_path / "saved")
    loaded = load_task_checkpoint(tmp_path / "saved", "relate", "feel")
    assert loaded.answers == ["good", "bad"]
    ids, mask = model.tokenizer(TEXTS)
    pixels = torch.rand(2, 3, 32, 32)
    assert torch.equal(loaded(mask, ids, pixels=pixels)[0], model(mask, ids, pixels=pixels)[0])
    with pytest.raises(ValueError, match="for the task 'feel'; a checkpoint for 'judge' or 'tag' is needed"):
        load_task_checkpoint(tmp_path / "saved", "judge", "tag")


def test_an_unknown_fusion_and_a_single_label_are_refused(tiny_config):
    with pytest.raises(ValueError, match="fusion is 'glue'; allowed: bi_attention"):
        build_task_model(dataclasses.replace(tiny_config, task="feel", fusion="glue"), ["a", "b"])
    with pytest.raises(ValueError, match="The labels are a; two at least"):
        build_task_model(dataclasses.replace(tiny_config, task="feel"), ["a"])


def test_relations_need_their_marked_parts_and_depend_on_them(tiny_config):
    model = build_task_model(dataclasses.replace(tiny_config, task="relate", fusion="text"), ["a", "b"]).eval()
    ids, mask = model.tokenizer(TEXTS[:1])
    with pytest.raises(ValueError, match="no marked parts: give spans"):
        model(mask, ids)
    spans = torch.zeros(1, 2, ids.shape[1], dtype=torch.bool)
    spans[0, 0, 1], spans[0, 1, 3] = True, True
    assert not torch.allclose(model(mask, ids, spans=spans)[0], model(mask, ids, spans=spans.flip(1))[0])


def test_the_last_layers_go_on_where_the_lower_ones_were_kept(tiny_config):
    config = dataclasses.replace(tiny_config, task="feel", fusion="text", learned_text_layers=1)
    model = build_task_model(config, ["a", "b"]).eval()
    ids, mask = model.tokenizer(TEXTS)
    lower = model.text_encoder.lower(ids, mask, 1)
    above = model.text_encoder.read(mask, lower_tokens=lower, above=model.learned_text_layers)
    whole = model.text_encoder.read(mask, ids)
    assert torch.allclose(above[mask], whole[mask], atol=1e-6)
    assert not torch.allclose(lower[mask], whole[mask], atol=1e-2)


@torch.no_grad()
def test_an_image_encoder_is_shared_and_found_by_its_hash(tiny_config, tmp_path):
    trained = dataclasses.replace(tiny_config, train_image_encoder=True)
    torch.manual_seed(0)
    save_checkpoint(build_model(trained, ["yes", "no"]), tmp_path / "answering")
    sha256 = shared_sha256(tmp_path / "answering")
    config = dataclasses.replace(tiny_config, task="feel", image_encoder_of_sha256=sha256)
    own = build_task_model(dataclasses.replace(config, image_encoder_of="assets/answering"), ["a", "b"]).eval()
    own.image_encoder.load_state_dict(stored_image_encoder(tmp_path / "answering"))
    save_checkpoint(own, tmp_path / "feel")
    assert not any(name.startswith("image_encoder") for name in load_file(tmp_path / "feel" / "model.safetensors"))
    (tmp_path / "answering").rename(tmp_path / "renamed")
    loaded = load_task_checkpoint(tmp_path / "feel", "feel")
    pixels = torch.rand(1, 3, 32, 32)
    assert torch.equal(loaded.image_encoder(pixels), own.image_encoder(pixels))
    another = build_model(trained, ["yes", "no"])
    next(another.image_encoder.parameters()).add_(0.1)
    save_checkpoint(another, tmp_path / "renamed")
    with pytest.raises(ValueError, match="shares the image encoder of the checkpoint assets/answering"):
        load_task_checkpoint(tmp_path / "feel", "feel")


def test_cells_are_averaged_to_a_smaller_grid(tiny_config):
    config = dataclasses.replace(tiny_config, task="feel", cell_side=2)
    model = build_task_model(config, ["a", "b"]).eval()
    tokens = model.image_encoder(torch.rand(1, 3, 32, 32))  # [1, 16, 16]
    cells = model.cells(image_tokens=tokens)
    assert model.grid == (2, 2)
    assert torch.allclose(cells[0, 1], tokens[0, [2, 3, 6, 7]].mean(dim=0), atol=1e-6)
    assert model.cells(image_tokens=cells) is cells
