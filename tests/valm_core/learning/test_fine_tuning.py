"""What learns in every fine-tuning mode, and adapters merged, saved and loaded."""

import dataclasses
import json

import pytest
import torch
from torch import nn
from toy_data import ANSWERS, inputs_of

from valm_core.checkpoints.adapters import load_adapter, save_adapter
from valm_core.checkpoints.storage import load_checkpoint, save_checkpoint
from valm_core.learning.fine_tuning import parse_fine_tuning, prepare_fine_tuning
from valm_core.learning.losses import AnswerObjective
from valm_core.learning.optimizer import parameter_groups
from valm_core.learning.training_config import TrainingConfig
from valm_core.model.adapters import adapter_of, is_adapter, merged
from valm_core.model.build import build_model
from valm_core.model.encoders.encoder_layers import encoder_layers
from valm_core.model.encoders.image_encoder import ImageEncoder
from valm_core.model.model import ValmModel, extend_answers

BEGINNINGS = ("text_projection.", "image_projection.", "image_input_norm.", "text_norm.", "image_norm.")
ALWAYS = (*BEGINNINGS, "fusion.", "head.")
TOP = ("text_encoder.backbone.encoder.layer.1.", "image_encoder.backbone.layers.1.")


def take_steps(model: ValmModel, steps: int = 3) -> set[str]:
    """Names of the state that moved."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    objective = AnswerObjective(model).train()
    config = TrainingConfig(learning_rate=0.1, encoder_learning_rate=0.1, weight_decay=0.0)
    optimizer = torch.optim.SGD(parameter_groups(objective, config))
    for _ in range(steps):
        objective(torch.eye(len(model.answers))[:2], **inputs_of(model)).total.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    return {name for name, tensor in model.state_dict().items() if not tensor.equal(before[name])}


@pytest.mark.parametrize(
    ("mode", "moving"),
    [
        ("frozen", ALWAYS),
        ("full", (*ALWAYS, "text_encoder.", "image_encoder.")),
        ("top_layers:1", (*ALWAYS, *TOP)),
        ("top_layers:2", (*ALWAYS, *TOP, "text_encoder.backbone.encoder.layer.0.", "image_encoder.backbone.layers.0.")),
    ],
)
def test_exactly_the_expected_parameters_move(tiny_model, mode, moving):
    prepare_fine_tuning(tiny_model, parse_fine_tuning(mode))
    expected = {name for name, _ in tiny_model.named_parameters() if name.startswith(moving)}
    assert {name for name, part in tiny_model.named_parameters() if part.requires_grad} == expected
    # What no gradient reaches: poolers, biases of keys (the softmax doesn't see them), the unused tokens' own norms.
    moved = take_steps(tiny_model)
    assert moved <= expected
    for beginning in moving:
        assert any(name.startswith(beginning) for name in moved), beginning
    changes = mode != "frozen"
    assert (tiny_model.config.train_text_encoder, tiny_model.config.train_image_encoder) == (changes, changes)


@pytest.mark.parametrize("mode", ["lora", "ia3"])
def test_adapters_head_and_projections_move_and_nothing_else(tiny_model, mode):
    prepare_fine_tuning(tiny_model, parse_fine_tuning(mode))
    learning = {name for name, part in tiny_model.named_parameters() if part.requires_grad}
    saved = tuple(f"{name}.modules_to_save." for name in ("head.0", "head.3", "text_projection", "image_projection"))
    assert all(is_adapter(name) or name.startswith(saved) for name in learning)
    for place in ("text_encoder.backbone.encoder.layer.1.attention.self.query", "fusion.layers.0"):
        assert any(name.startswith(place) and is_adapter(name) for name in learning)
    assert not any(name.startswith("image_encoder.") for name in learning)
    moved = take_steps(tiny_model)
    assert moved <= learning and any(name.startswith("text_encoder") for name in moved)
    assert all(any(name.startswith(part) for name in moved) for part in saved)
    assert tiny_model.config.train_text_encoder and not tiny_model.config.train_image_encoder


def test_encoders_that_a_config_lets_learn_do_so_under_frozen(tiny_config):
    model = build_model(dataclasses.replace(tiny_config, train_text_encoder=True), ANSWERS)
    prepare_fine_tuning(model, parse_fine_tuning("frozen"))
    assert all(part.requires_grad for part in model.text_encoder.parameters())
    assert not any(part.requires_grad for part in model.image_encoder.parameters())


def small_cnn() -> ImageEncoder:
    parts = [nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, 2), nn.BatchNorm2d(4)]
    return ImageEncoder(nn.Sequential(*parts), (0.5,) * 3, (0.5,) * 3, 32)


def test_batch_statistics_move_only_where_something_learns(tiny_model):
    tiny_model.image_encoder = small_cnn()
    tiny_model.image_projection, tiny_model.image_input_norm = nn.Linear(4, 16), nn.LayerNorm(4)
    prepare_fine_tuning(tiny_model, parse_fine_tuning("top_layers:1"))
    moved = take_steps(tiny_model)
    assert {name for name in moved if name.startswith("image_encoder")} == {
        f"image_encoder.backbone.4.{name}"
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    }


def test_the_layers_of_the_packaged_encoders():
    import timm

    holder = nn.Module()
    holder.backbone = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    assert len(encoder_layers(holder)) == 7
    holder.backbone = timm.create_model("resnet18", pretrained=False)
    assert len(encoder_layers(holder)) == 4


def test_too_many_layers_are_refused(tiny_model):
    with pytest.raises(ValueError, match=r"the text encoder has 2 layers .* top_layers:1 to top_layers:2"):
        prepare_fine_tuning(tiny_model, parse_fine_tuning("top_layers:3"))
    assert not any(part.requires_grad for part in tiny_model.text_encoder.parameters())


@pytest.mark.parametrize("text", ["", "half", "top_layers", "top_layers:0", "top_layers:x", "lora:2", "frozen:"])
def test_an_unknown_mode_is_refused(text):
    with pytest.raises(ValueError, match=r"fine_tuning is .* allowed: frozen, photo, question:N, full, top_layers:N"):
        TrainingConfig(fine_tuning=text)


@pytest.mark.parametrize("mode", ["lora", "ia3"])
def test_a_merged_model_answers_as_the_adapted_one_and_can_be_saved(tiny_model, mode, tmp_path):
    before = tiny_model(**inputs_of(tiny_model)).logits
    prepare_fine_tuning(tiny_model, parse_fine_tuning(mode))
    tiny_model.eval()
    torch.testing.assert_close(tiny_model(**inputs_of(tiny_model)).logits, before, atol=1e-5, rtol=0)
    take_steps(tiny_model)
    adapted = tiny_model(**inputs_of(tiny_model)).logits
    assert (adapted - before).abs().max() > 1e-3
    plain = merged(tiny_model)
    assert adapter_of(plain) is None and adapter_of(tiny_model) is not None
    assert not any(is_adapter(name) or "modules_to_save" in name for name in plain.state_dict())
    torch.testing.assert_close(plain(**inputs_of(plain)).logits, adapted, atol=1e-5, rtol=0)
    torch.testing.assert_close(tiny_model(**inputs_of(tiny_model)).logits, adapted, atol=0, rtol=0)
    save_checkpoint(plain, tmp_path / "plain")
    loaded = load_checkpoint(tmp_path / "plain")
    torch.testing.assert_close(loaded(**inputs_of(loaded)).logits, adapted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", ["lora", "ia3"])
def test_saved_adapters_load_through_peft_and_through_valm(tiny_model, mode, tmp_path):
    from peft import PeftModel

    save_checkpoint(tiny_model, tmp_path / "base")
    prepare_fine_tuning(tiny_model, parse_fine_tuning(mode))
    take_steps(tiny_model)
    adapted = tiny_model(**inputs_of(tiny_model)).logits
    save_adapter(tiny_model, tmp_path / "adapter")
    assert {path.name for path in (tmp_path / "adapter").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "answers.json",
    }
    assert json.loads((tmp_path / "adapter" / "answers.json").read_text()) == ANSWERS

    base = load_checkpoint(tmp_path / "base")
    through_peft = PeftModel.from_pretrained(base, str(tmp_path / "adapter")).eval()
    torch.testing.assert_close(through_peft(**inputs_of(base)).logits, adapted, atol=1e-6, rtol=0)

    loaded = load_adapter(load_checkpoint(tmp_path / "base"), tmp_path / "adapter")
    torch.testing.assert_close(loaded(**inputs_of(loaded)).logits, adapted, atol=1e-6, rtol=0)
    torch.testing.assert_close(merged(loaded)(**inputs_of(loaded)).logits, adapted, atol=1e-5, rtol=0)
    assert take_steps(loaded)  # and it goes on learning


def test_adapters_that_know_more_answers_extend_the_base(tiny_model, tmp_path):
    save_checkpoint(tiny_model, tmp_path / "base")
    longer = extend_answers(tiny_model, ["many"])
    prepare_fine_tuning(longer, parse_fine_tuning("lora"))
    take_steps(longer)
    save_adapter(longer, tmp_path / "adapter")
    loaded = load_adapter(load_checkpoint(tmp_path / "base"), tmp_path / "adapter")
    assert loaded.answers == [*ANSWERS, "many"]
    expected = longer(**inputs_of(longer)).logits
    torch.testing.assert_close(loaded(**inputs_of(loaded)).logits, expected, atol=1e-6, rtol=0)


def test_adapters_for_other_answers_or_none_are_refused(tiny_model, tiny_config, tmp_path):
    with pytest.raises(ValueError, match="carries no adapters"):
        save_adapter(tiny_model, tmp_path / "adapter")
    with pytest.raises(FileNotFoundError, match=r"no VALM adapter: adapter_config\.json is missing"):
        load_adapter(tiny_model, tmp_path)
    prepare_fine_tuning(tiny_model, parse_fine_tuning("lora"))
    with pytest.raises(ValueError, match="carries adapters already"):
        prepare_fine_tuning(tiny_model, parse_fine_tuning("lora"))
    save_adapter(tiny_model, tmp_path / "adapter")
    with pytest.raises(ValueError, match="another answer list"):
        load_adapter(build_model(tiny_config, ["other"]), tmp_path / "adapter")


def test_adapters_learn_at_the_fusions_rate_and_factors_do_not_decay(tiny_model):
    prepare_fine_tuning(tiny_model, parse_fine_tuning("ia3"))
    names = {id(part): name for name, part in tiny_model.named_parameters()}
    config = TrainingConfig(learning_rate=0.5, encoder_learning_rate=0.1)
    for group in parameter_groups(AnswerObjective(tiny_model), config):
        assert group["lr"] == 0.5
        for part in group["params"]:
            assert group["weight_decay"] == 0 or not is_adapter(names[id(part)])
