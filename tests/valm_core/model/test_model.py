"""The model: shapes, padding, fast and explained path, planted answer, checkpoints."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from valm_core.checkpoints.storage import load_checkpoint, save_checkpoint
from valm_core.config import ValmConfig
from valm_core.model.build import build_model, reconfigure
from valm_core.model.encoders.packages import PACKAGES
from valm_core.model.model import ValmModel

QUESTIONS = ["what color is the square?", "is there any red?"]


def inputs(model: ValmModel, questions=QUESTIONS) -> dict:
    torch.manual_seed(0)
    ids, mask = model.tokenizer(list(questions))
    return {"token_ids": ids, "text_mask": mask, "pixels": torch.rand(len(questions), 3, 32, 32)}


def test_attention_rows_sum_to_one_and_padding_gets_nothing(tiny_model):
    batch = inputs(tiny_model)
    assert not batch["text_mask"].all(), "the second question is shorter, so it must be padded"
    maps = tiny_model(**batch, return_attention=True).features.attention
    assert [(step.query, step.key, step.layer) for step in maps] == [
        (query, key, layer)
        for layer in range(2)
        for query, key in (("text", "image"), ("image", "text"), ("text", "text"), ("image", "image"))
    ]
    for step in maps:
        torch.testing.assert_close(step.weights.sum(dim=-1), torch.ones(step.weights.shape[:-1]))
        if step.key == "text":
            assert (step.weights[1][..., ~batch["text_mask"][1]] == 0).all()


def test_fast_path_and_explained_path_give_the_same_logits(tiny_model):
    batch = inputs(tiny_model)
    fast, explained = tiny_model(**batch), tiny_model(**batch, return_attention=True)
    assert fast.features.attention == ()
    torch.testing.assert_close(fast.logits, explained.logits, atol=1e-5, rtol=1e-5)


def test_padding_does_not_change_a_questions_logits(tiny_model):
    batch = inputs(tiny_model)
    together = tiny_model(**batch).logits
    ids, mask = tiny_model.tokenizer([QUESTIONS[1]])
    alone = tiny_model(token_ids=ids, text_mask=mask, pixels=batch["pixels"][1:]).logits
    torch.testing.assert_close(together[1:], alone, atol=1e-5, rtol=1e-5)


def test_encoding_once_and_indexing_photos_equals_encoding_every_time(tiny_model):
    batch = inputs(tiny_model)
    image = tiny_model.encode_image(batch["pixels"][:1])
    text = tiny_model.encode_question(batch["token_ids"], batch["text_mask"])
    reused = tiny_model(
        text_tokens=text.tokens,
        text_mask=text.mask,
        image_tokens=image.tokens,
        photo_index=torch.tensor([0, 0]),
    ).logits
    batch["pixels"] = batch["pixels"][[0, 0]]
    torch.testing.assert_close(reused, tiny_model(**batch).logits, atol=1e-5, rtol=1e-5)


def test_a_blind_answer_uses_the_average_token_and_not_the_photo(tiny_model):
    batch = inputs(tiny_model)
    batch.pop("pixels")
    before = tiny_model(**batch).logits
    tiny_model.mean_image_token.copy_(torch.randn(16) * 3)
    assert not torch.allclose(before, tiny_model(**batch).logits)


def test_hand_set_weights_put_the_peak_on_the_planted_cell(tiny_model):
    """Cell 6 alone carries direction 0; every query asks for direction 0, every key shows it."""
    planted, width = 6, 16
    for attention in (layer.text_to_image for layer in tiny_model.fusion.layers):
        for parameter in attention.parameters():
            torch.nn.init.zeros_(parameter)
        attention.query.bias.data[[0, width // 2]] = 1.0  # first channel of both heads
        attention.key_value.weight.data[[0, width // 2], 0] = 50.0
    tiny_model.fusion.layers[0].image_cross_norm = torch.nn.Identity()
    tiny_model.fusion.layers[1].image_cross_norm = torch.nn.Identity()
    for layer in tiny_model.fusion.layers:  # nothing else may write into the image stream
        for part in (layer.image_to_text, layer.image_self, layer.image_feed_forward):
            for parameter in part.parameters():
                torch.nn.init.zeros_(parameter)
    tokens = torch.zeros(1, 16, width)
    tokens[0, planted, 0] = 10.0
    text = torch.randn(1, 3, width)
    mask = torch.ones(1, 3, dtype=torch.bool)
    maps = tiny_model.fusion(text, mask, tokens, (4, 4), return_attention=True).attention
    for step in maps:
        if (step.query, step.key) == ("text", "image"):
            assert (step.weights.argmax(dim=-1) == planted).all()
            assert step.weights[..., planted].min() > 0.9


def test_saved_and_loaded_models_are_exactly_equal(tiny_model, tmp_path):
    tiny_model.mean_image_token.copy_(torch.rand(16))
    reconfigure(tiny_model, dataclasses.replace(tiny_model.config, temperature=1.25))
    save_checkpoint(tiny_model, tmp_path / "model", {"README.md": "card"})
    loaded = load_checkpoint(tmp_path / "model")
    assert loaded.config == tiny_model.config
    assert loaded.answers == tiny_model.answers
    assert (tmp_path / "model" / "README.md").read_text() == "card"
    for name, tensor in tiny_model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name
    batch = inputs(tiny_model)
    assert torch.equal(tiny_model(**batch).logits, loaded(**batch).logits)


def test_a_trained_encoder_is_stored_too(tiny_config, tmp_path):
    model = build_model(dataclasses.replace(tiny_config, train_text_encoder=True), ["a", "b"])
    torch.nn.init.normal_(model.text_encoder.backbone.embeddings.word_embeddings.weight)
    save_checkpoint(model, tmp_path / "model")
    loaded = load_checkpoint(tmp_path / "model")
    assert torch.equal(
        loaded.text_encoder.backbone.embeddings.word_embeddings.weight,
        model.text_encoder.backbone.embeddings.word_embeddings.weight,
    )
    assert {name for name, weight in loaded.named_parameters() if weight.requires_grad} == {
        name for name, weight in model.named_parameters() if weight.requires_grad
    }


def test_half_storage_rounds_to_float16_and_nothing_else(tiny_model, tmp_path):
    save_checkpoint(tiny_model, tmp_path / "model", half=True)
    loaded = load_checkpoint(tmp_path / "model")
    for name, tensor in tiny_model.state_dict().items():
        assert torch.equal(tensor.half().float() if tensor.is_floating_point() else tensor, loaded.state_dict()[name])


def spoil(folder, change) -> None:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("head.0.bias"), "head.0.bias is missing"),
        (lambda state: state.update(extra=torch.zeros(1)), "extra is unexpected"),
        (lambda state: state.update({"head.0.bias": torch.zeros(3)}), r"head.0.bias has shape \(3,\), not \(32,\)"),
    ],
)
def test_loading_is_strict(tiny_model, tmp_path, change, message):
    save_checkpoint(tiny_model, tmp_path / "model")
    spoil(tmp_path / "model", change)
    with pytest.raises(ValueError, match=message):
        load_checkpoint(tmp_path / "model")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "answers.json"])
def test_a_missing_file_is_named(tiny_model, tmp_path, name):
    save_checkpoint(tiny_model, tmp_path / "model")
    (tmp_path / "model" / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is missing"):
        load_checkpoint(tmp_path / "model")


def test_truncated_weights_are_refused(tiny_model, tmp_path):
    save_checkpoint(tiny_model, tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match="safetensors is damaged"):
        load_checkpoint(tmp_path / "model")


@pytest.mark.parametrize("name", ["config.json", "answers.json"])
def test_a_truncated_json_file_is_refused(tiny_model, tmp_path, name):
    save_checkpoint(tiny_model, tmp_path / "model")
    (tmp_path / "model" / name).write_text((tmp_path / "model" / name).read_text()[:20])
    with pytest.raises(ValueError, match=f"model is damaged: .*{name}"):
        load_checkpoint(tmp_path / "model")


def test_another_backbone_hash_is_refused(tiny_model, tmp_path):
    save_checkpoint(tiny_model, tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config["image_encoder"] = "package:efficientnet-lite0"
    config["image_encoder_sha256"] = PACKAGES["efficientnet-lite2"].sha256
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="sha256"):
        load_checkpoint(tmp_path / "model")


def test_a_failed_save_leaves_the_old_checkpoint_whole(tiny_model, tmp_path):
    save_checkpoint(tiny_model, tmp_path / "model")
    torch.nn.init.zeros_(tiny_model.head[0].weight)
    with pytest.raises(TypeError):
        save_checkpoint(tiny_model, tmp_path / "model", {"README.md": None})
    assert load_checkpoint(tmp_path / "model").head[0].weight.abs().sum() > 0
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_save_that_was_killed_between_the_renames_is_recovered(tiny_model, tmp_path):
    save_checkpoint(tiny_model, tmp_path / "model")
    (tmp_path / "model").rename(tmp_path / ".model.old")
    loaded = load_checkpoint(tmp_path / "model")  # while another process may still be saving: nothing is moved
    assert torch.equal(loaded.head[0].weight, tiny_model.head[0].weight)
    assert [path.name for path in tmp_path.iterdir()] == [".model.old"]
    save_checkpoint(loaded, tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_frozen_packaged_encoders_are_named_by_hash_and_not_copied(tmp_path):
    config = ValmConfig(image_size=64, width=16, layers=1, heads=2)
    model = build_model(config, ["a", "b"]).eval()
    assert model.config.text_encoder_sha256 == PACKAGES["all-minilm-l6-v2"].sha256
    assert model.config.image_encoder_sha256 == PACKAGES["efficientnet-lite0"].sha256
    save_checkpoint(model, tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == (
        ["answers.json", "config.json", "fingerprints.json", "model.safetensors"]
    )
    names = load_file(tmp_path / "model" / "model.safetensors").keys()
    assert not [name for name in names if name.startswith(("text_encoder.", "image_encoder."))]
    batch = {"pixels": torch.rand(1, 3, 64, 64)}
    batch["token_ids"], batch["text_mask"] = model.tokenizer(["what is it?"])
    assert torch.equal(load_checkpoint(tmp_path / "model")(**batch).logits, model(**batch).logits)


def test_a_trained_packaged_encoder_is_stored_and_loads_exactly(tiny_config, tmp_path):
    config = dataclasses.replace(tiny_config, image_encoder="package:efficientnet-lite0", train_image_encoder=True)
    model = build_model(config, ["a", "b"])
    with torch.no_grad():
        for parameter in model.image_encoder.parameters():
            parameter.mul_(1.5)
    save_checkpoint(model, tmp_path / "model")
    loaded = load_checkpoint(tmp_path / "model").image_encoder.state_dict()
    for name, tensor in model.image_encoder.state_dict().items():
        assert torch.equal(tensor, loaded[name]), name


def test_an_unknown_fusion_is_named(tiny_config):
    with pytest.raises(ValueError, match="fusion is 'sum'; allowed: bi_attention"):
        build_model(dataclasses.replace(tiny_config, fusion="sum"), ["a"])


@pytest.mark.parametrize("answers", [[], ["yes", "yes"]])
def test_an_empty_or_doubled_answer_list_is_refused(tiny_config, answers):
    with pytest.raises(ValueError, match="answer list"):
        build_model(tiny_config, answers)


def test_a_forward_pass_without_a_question_is_refused(tiny_model):
    with pytest.raises(ValueError, match="give token_ids or text_tokens"):
        tiny_model(text_mask=torch.ones(1, 4, dtype=torch.bool))


def test_frozen_encoders_stay_in_evaluation_mode_and_get_no_gradient(tiny_model):
    tiny_model.train()
    assert tiny_model.fusion.training and not tiny_model.text_encoder.training
    tiny_model(**inputs(tiny_model)).logits.sum().backward()
    assert all(parameter.grad is None for parameter in tiny_model.image_encoder.parameters())
    assert tiny_model.text_projection.weight.grad.abs().sum() > 0
