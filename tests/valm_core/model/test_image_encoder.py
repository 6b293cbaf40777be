"""Every kind of image encoder gives tokens on the right grid; the packaged one knows a cat."""

import copy

import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModel, Dinov2Config, Dinov2Model, ResNetConfig, ResNetModel

from valm_core.inputs.photo import open_photo, photo_to_pixels
from valm_core.model.encoders.concepts import ConceptHead
from valm_core.model.encoders.image_encoder import build_image_encoder
from valm_core.model.encoders.packages import packaged_file

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "patch_size": 8}


@pytest.fixture(scope="module")
def lite0():
    return build_image_encoder("package:efficientnet-lite0", 224)


def imagenet_classifier() -> torch.nn.Linear:
    """The packaged network's own classifier, which the encoder leaves out: the last two tensors of its file."""
    weight, bias = list(torch.load(packaged_file("efficientnet-lite0"), weights_only=True).values())[-2:]
    classifier = torch.nn.Linear(1280, 1000)
    classifier.load_state_dict({"weight": weight, "bias": bias})
    return classifier


@pytest.mark.parametrize(("stride", "grid"), [(32, (7, 7)), (16, (14, 14))])
def test_the_packaged_weights_know_a_cat_at_both_strides(stride, grid):
    encoder = build_image_encoder("package:efficientnet-lite0", 224, stride=stride)
    assert encoder.grid == grid and encoder.feature_width == encoder.width == 1280
    pixels = photo_to_pixels(open_photo("assets/examples/cat.jpg"), 224)
    with torch.no_grad():
        cells = imagenet_classifier()(encoder(pixels[None])).softmax(dim=-1)  # [1, N, 1000]
    classes = cells.mean(dim=1)[0].topk(3).indices.tolist()
    assert any(281 <= index <= 285 for index in classes)  # ImageNet's domestic cats


def test_other_encoders_have_a_stride_of_their_own(tmp_path):
    with pytest.raises(ValueError, match="image_stride is 16"):
        build_image_encoder("torchvision:resnet50", 64, checkpoint=tmp_path, stride=16)


def test_a_token_is_the_reduced_features_and_the_meaning_of_the_concepts(lite0):
    torch.manual_seed(0)
    encoder = copy.deepcopy(lite0)
    pixels = torch.rand(1, 3, 224, 224)
    encoder.concept_head = ConceptHead(1280, concepts=3, embedding_width=6)
    encoder.concept_head.embeddings.copy_(torch.randn(3, 6))
    encoder.add_neck(8)
    with torch.no_grad():
        features = lite0(pixels)  # [1, N, 1280]
        tokens = encoder(pixels)
        shown = torch.sigmoid(features[0, 10] @ encoder.concept_head.score.weight.T + encoder.concept_head.score.bias)
        reduced = torch.nn.functional.gelu(features[0, 10] @ encoder.neck[0].weight.T + encoder.neck[0].bias)
    assert encoder.width == tokens.shape[-1] == 14 and encoder.semantic_width == 6
    torch.testing.assert_close(tokens[0, 10, :8], reduced, atol=1e-4, rtol=1e-4)
    meaning = sum(shown[index] * encoder.concept_head.embeddings[index] for index in range(3))
    torch.testing.assert_close(tokens[0, 10, 8:], meaning, atol=1e-4, rtol=1e-4)


def test_building_does_not_move_batch_statistics(lite0):
    fresh = build_image_encoder("package:efficientnet-lite0", 64)
    for name, tensor in fresh.state_dict().items():
        assert torch.equal(tensor, lite0.state_dict()[name]), name


@pytest.mark.parametrize(
    ("source", "size", "grid", "width"),
    [
        ("package:efficientnet-lite2", 128, (4, 4), 1280),
        ("torchvision:resnet50", 64, (2, 2), 2048),
        ("torchvision:vgg16", 64, (2, 2), 512),
        ("timm:resnet18", 64, (2, 2), 512),
        ("timm:vit_tiny_patch16_224", 64, (4, 4), 192),
    ],
)
def test_convolutional_and_patch_encoders_give_their_grid(tmp_path, source, size, grid, width):
    # With a checkpoint folder nothing is downloaded: the weights would come from there.
    encoder = build_image_encoder(source, size, checkpoint=tmp_path).eval()
    assert encoder.grid == grid and encoder.width == width
    with torch.no_grad():
        assert encoder(torch.rand(2, 3, size, size)).shape == (2, grid[0] * grid[1], width)


@pytest.mark.parametrize(
    ("model", "config"),
    [
        (CLIPVisionModel, CLIPVisionConfig(image_size=32, **SMALL)),
        (Dinov2Model, Dinov2Config(image_size=32, **SMALL)),
    ],
    ids=["clip", "dinov2"],
)
def test_transformers_encoders_leave_out_the_class_token(tmp_path, model, config):
    model(config).save_pretrained(tmp_path)
    encoder = build_image_encoder(f"transformers:{tmp_path}", 32).eval()
    assert encoder.grid == (4, 4) and encoder.width == 16
    pixels = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        own = encoder(pixels)
        reference = model.from_pretrained(tmp_path).eval()((pixels - encoder.mean) / encoder.std).last_hidden_state
    torch.testing.assert_close(own, reference[:, 1:], atol=1e-4, rtol=1e-4)


def test_a_transformers_feature_map_becomes_a_grid(tmp_path):
    ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])).save_pretrained(tmp_path)
    assert build_image_encoder(f"transformers:{tmp_path}", 64).grid == (8, 8)


@pytest.mark.parametrize("source", ["resnet50", "magic:resnet", "package:resnet50", "package:", "torchvision:alexnot"])
def test_an_unknown_source_is_named(source):
    with pytest.raises(ValueError, match=source.split(":")[-1] or "package:"):
        build_image_encoder(source, 64)


def test_a_photo_size_that_the_model_does_not_take_is_named(tiny_image_folder):
    with pytest.raises(ValueError, match="set `image_size`"):
        build_image_encoder(f"transformers:{tiny_image_folder}", 64)
