"""Image networks made ready for inference: the same numbers with fewer modules, and never in training."""

import copy

import pytest
import torch
import torchvision
from torch import nn

from training.datasets.feature_cache import _weights_fingerprint
from valm_core.checkpoints.storage import load_checkpoint, save_checkpoint
from valm_core.model.build import build_model
from valm_core.model.encoders.folding import PointwiseConvolution, fold_batch_norms, ready_for_inference
from valm_core.model.encoders.image_encoder import ImageEncoder
from valm_core.predictor import VqaPredictor


class PreActivation(nn.Module):
    """Batch norms that must stay: before a convolution, after one that is read twice, and one that is used twice."""

    def __init__(self):
        super().__init__()
        self.first, self.read_twice, self.again = nn.BatchNorm2d(3), nn.BatchNorm2d(8), nn.BatchNorm2d(8)
        self.wide, self.narrow = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 1, bias=False)

    def forward(self, pixels):
        wide = self.wide(self.first(pixels))
        return self.again(self.narrow(self.again(self.narrow(wide + self.read_twice(wide)))))


def with_statistics(network: nn.Module) -> nn.Module:
    """The network in evaluation mode with random batch statistics, as after training."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.5)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    return network.eval()


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def efficientnet() -> nn.Module:
    import timm

    return timm.create_model("tf_efficientnet_lite0", pretrained=False)


@pytest.mark.parametrize(
    ("build", "left", "pointwise"),
    [
        (efficientnet, 0, 32),
        (lambda: torchvision.models.resnet18(weights=None), 0, 0),  # its 1 x 1 convolutions have stride 2
        (PreActivation, 3, 1),
    ],
)
def test_outputs_stay_and_norms_go(build, left, pointwise):
    torch.manual_seed(0)
    network = with_statistics(build())
    pixels = torch.rand(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    ready = copy.deepcopy(network)
    ready_for_inference(ready)
    with torch.no_grad():
        expected, found = network(pixels), ready(pixels)
    assert norms(ready) == left
    assert sum(isinstance(module, PointwiseConvolution) for module in ready.modules()) == pointwise
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_a_network_that_cannot_be_traced_or_has_no_norm_stays():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, pixels):
            return self.norm(self.convolution(pixels)) if pixels.sum() > 0 else pixels

    assert fold_batch_norms(Branches().eval()) == 0
    assert fold_batch_norms(nn.Sequential(nn.Linear(3, 3))) == 0


def test_the_predictor_alone_is_changed(tiny_config, tmp_path):
    """A loaded predictor gives the model's tokens; the model itself keeps its layers, and features their cache key."""
    torch.manual_seed(0)
    model = build_model(tiny_config, ["a", "b"]).eval()
    layers = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1)
    backbone = with_statistics(nn.Sequential(*layers))
    encoder = ImageEncoder(backbone, (0.5,) * 3, (0.5,) * 3, 32)
    key, pixels = _weights_fingerprint(encoder), torch.rand(1, 3, 32, 32)
    ready = copy.deepcopy(encoder)
    ready_for_inference(ready.backbone)
    with torch.no_grad():
        torch.testing.assert_close(ready(pixels), encoder(pixels), rtol=1e-4, atol=1e-4)
    assert _weights_fingerprint(encoder) == key != _weights_fingerprint(ready)
    save_checkpoint(model, tmp_path / "checkpoint")
    names = set(load_checkpoint(tmp_path / "checkpoint").state_dict())
    assert names == set(model.state_dict())
    assert VqaPredictor(model, torch.device("cpu")).model is model and set(model.state_dict()) == names
