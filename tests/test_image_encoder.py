"""Every kind of image encoder gives tokens on the right grid; the packaged one knows a cat."""

import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModel, Dinov2Config, Dinov2Model, ResNetConfig, ResNetModel

from valm_core.image_encoder import build_image_encoder
from valm_core.processor import open_photo, photo_to_pixels

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "patch_size": 8}


@pytest.fixture(scope="module")
def lite0():
    return build_image_encoder("package:efficientnet-lite0", 224)


def test_the_packaged_encoder_classifies_a_cat_cell_by_cell(lite0):
    assert lite0.grid == (7, 7) and lite0.feature_width == 1280
    pixels, _ = photo_to_pixels(open_photo("assets/examples/cat.jpg"), 224, "squash")
    with torch.no_grad():
        classes = lite0.classifier(lite0(pixels[None])).softmax(dim=-1).mean(dim=1)[0].topk(3).indices.tolist()
    assert any(281 <= index <= 285 for index in classes)  # ImageNet's domestic cats


def test_the_semantic_part_is_the_expected_class_embedding(lite0):
    torch.manual_seed(0)
    pixels = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        features = lite0(pixels)
        lite0.class_embeddings = torch.randn(1000, 6)
        tokens = lite0(pixels)
    assert lite0.width == 1286
    torch.testing.assert_close(tokens[..., :1280], features)
    cell = lite0.classifier(features[0, 10]).softmax(dim=-1)
    expected = sum(cell[index] * lite0.class_embeddings[index] for index in range(1000))
    torch.testing.assert_close(tokens[0, 10, 1280:], expected, atol=1e-4, rtol=1e-4)
    lite0.class_embeddings = None


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
