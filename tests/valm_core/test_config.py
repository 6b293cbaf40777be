"""The config: checks on construction, JSON, and plain values from files and the command line."""

import dataclasses

import pytest
import yaml

from valm_core.checkpoints.fingerprints import differences
from valm_core.config import ValmConfig, from_plain_values
from valm_core.learning.training_config import TrainingConfig


def test_a_config_goes_through_json_unchanged(tmp_path):
    config = ValmConfig(width=64, dropout=0.1, fusion="dual_tower", temperature=1.7, image_encoder="timm:resnet10t")
    config.to_json(tmp_path / "config.json")
    assert ValmConfig.from_json(tmp_path / "config.json") == config


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image_size", 0),
        ("image_size", 1025),
        ("width", 0),
        ("width", 4100),
        ("layers", 0),
        ("layers", 65),
        ("heads", 0),
        ("feed_forward_ratio", 0.0),
        ("temperature", 0.0),
        ("temperature", 1e-40),
        ("yes_no_temperature", 1e-40),
        ("width", 10**400),
        ("temperature", float("nan")),
        ("dropout", -0.1),
        ("dropout", 1.0),
        ("max_question_tokens", 3),
        ("max_question_tokens", 513),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name):
        ValmConfig(**{name: value})


@pytest.mark.parametrize(
    "wrong",
    [{"learning_rate": float("nan")}, {"learning_rate": 0.0}, {"epochs": 0}, {"label_smoothing": 1.0}, {"workers": -1}],
)
def test_a_rate_that_nothing_can_be_learned_with_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*; allowed: a (finite )?number (from|above) "):
        TrainingConfig(**wrong)


def test_heads_must_divide_the_width_and_the_width_be_a_multiple_of_four():
    with pytest.raises(ValueError, match="divisor of the width 256"):
        ValmConfig(heads=3)
    with pytest.raises(ValueError, match="multiple of 4"):
        ValmConfig(width=30, heads=2)


def test_a_config_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ValmConfig().width = 8


def test_an_unknown_name_is_refused_and_the_nearest_suggested():
    with pytest.raises(ValueError, match=r"`dropuot`\. Did you mean `dropout`\?"):
        ValmConfig.from_dict({"dropuot": 0.1})
    with pytest.raises(ValueError, match="Known names: task"):
        ValmConfig.from_dict({"zzz": 1})


def test_a_removed_setting_is_passed_over_with_the_value_that_is_left_and_refused_with_another():
    assert ValmConfig.from_dict({"resize": "squash", "gate": "adaptive", "width": 64}) == ValmConfig(width=64)
    assert from_plain_values(TrainingConfig, {"momentum": 0.9}) == TrainingConfig()
    with pytest.raises(ValueError, match=r"no setting `resize`\. It is gone; .*'squash' is left, not 'crop'"):
        ValmConfig.from_dict({"resize": "crop"})
    with pytest.raises(ValueError, match=r"no setting `momentum`\. It is gone; .*0\.9 is left, not 0\.5"):
        from_plain_values(TrainingConfig, {"momentum": 0.5})
    stored = {"epochs": 3, "momentum": 0.9, "model": {"gate": "adaptive"}}  # a run of before is resumed
    assert differences(stored, {"epochs": 3, "model": {}}) == []
    assert differences(stored | {"momentum": 0.5}, {"epochs": 3}) == ["momentum (was 0.5, is None)", "model"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("width", "64"), ("width", 64.0), ("width", True), ("dropout", "0.1"), ("similarity", 1), ("fusion", None)],
)
def test_a_value_of_another_type_is_refused(name, value):
    with pytest.raises(ValueError, match=f"ValmConfig.{name} is "):
        ValmConfig.from_dict({name: value})


def test_a_whole_number_is_taken_where_a_float_is_expected():
    config = ValmConfig.from_dict({"temperature": 2})
    assert config.temperature == 2.0 and isinstance(config.temperature, float)


def test_a_missing_value_without_default_is_named():
    @dataclasses.dataclass
    class Settings:
        data: str
        output: str
        epochs: int = 1

    with pytest.raises(ValueError, match="Settings needs a value for `output`"):
        from_plain_values(Settings, {"data": "rows.jsonl"})


def test_a_no_that_yaml_takes_for_false_is_a_text_where_a_text_is_needed():
    assert from_plain_values(TrainingConfig, yaml.safe_load("precision: no")).precision == "no"
