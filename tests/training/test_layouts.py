"""The image encoder's precision and order of memory: the quickest is taken, and it computes the same."""

import pytest
import torch

from training.joint import layouts
from training.joint.layouts import LAYOUTS, Layout, features, take, take_quickest
from valm_core.model.build import build_model


@pytest.fixture
def encoder(tiny_config):
    """A small encoder, in training."""
    torch.manual_seed(0)
    return build_model(tiny_config, ["yes", "no"]).image_encoder.requires_grad_(True).train()


def test_the_quickest_is_taken_and_nothing_else_moves(encoder, monkeypatch):
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    taken, told, slow = [], [], dict(zip(LAYOUTS, (4.0, 3.0, 1.0, 2.0), strict=True))

    def timed(one, pixels, layout):
        features(one, pixels, layout).float().sum().backward()
        one.zero_grad()
        taken.append(layout)
        return slow[layout]

    monkeypatch.setattr(layouts, "_seconds_of_a_step", timed)
    best = take_quickest(encoder, torch.rand(2, 3, 32, 32), LAYOUTS, told.append)
    assert best == LAYOUTS[2] == Layout(half=False, channels_last=True) and taken == list(LAYOUTS)
    assert encoder.memory_format == torch.channels_last and len(told) == 4 and "float32, channels last: 1000" in told[2]
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_a_step_is_timed_and_leaves_no_gradient(encoder):
    assert layouts._seconds_of_a_step(encoder, torch.rand(2, 3, 32, 32), LAYOUTS[3]) > 0
    assert all(parameter.grad is None for parameter in encoder.parameters())


def test_all_layouts_give_the_same_features(encoder):
    encoder.eval()
    pixels = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        expected = encoder.features(pixels)
        for layout in LAYOUTS:
            take(encoder, layout)
            got = features(encoder, pixels, layout)
            torch.testing.assert_close(got.float(), expected, atol=0.05 if layout.half else 1e-5, rtol=0.05)
    assert encoder.memory_format == torch.contiguous_format
