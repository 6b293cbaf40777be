"""The config: checks, JSON and helpful errors."""

import pytest

from valm_core.config import ValmConfig


def test_json_gives_back_the_same_config(tmp_path):
    config = ValmConfig(width=64, heads=2, dropout=0.3, resize="crop")
    config.to_json(tmp_path / "config.json")
    assert ValmConfig.from_json(tmp_path / "config.json") == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 30}, "heads is 4; allowed: a divisor of the width 30"),
        ({"width": 6, "heads": 3}, "width is 6; allowed: a multiple of 4"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"resize": "stretch"}, "one of squash, crop"),
        ({"image_size": 100_000}, "at most 1024"),
        ({"layers": 10_000}, "at most 4096, 64"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"max_question_tokens": 2}, "4 to 512"),
    ],
)
def test_a_value_that_is_not_allowed_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        ValmConfig(**change)


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"no setting `withd`. Did you mean `width`\?"):
        ValmConfig.from_dict({"withd": 3})


@pytest.mark.parametrize("value", ["wide", 2.5, True, None])
def test_a_value_of_the_wrong_type_is_refused(value):
    with pytest.raises(ValueError, match="a value of type int is needed"):
        ValmConfig.from_dict({"width": value})


def test_whole_numbers_are_fine_for_fractions():
    assert ValmConfig.from_dict({"feed_forward_ratio": 4}).feed_forward_ratio == 4.0
