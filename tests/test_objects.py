"""The object head learns from boxes, and a model carries its object names from checkpoint to checkpoint."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from training.datasets import load_rows
from training.objects import NAMES_BY_ID, load_object_head, presence_precision, read_boxes, train_head
from training.train import RunConfig, build_model
from valm_core.config import ValmConfig
from valm_core.model import ValmModel
from valm_core.objects import OBJECT_NAMES, ObjectHead, object_cells
from valm_core.processor import open_photo

DOG = OBJECT_NAMES.index("dog")


def test_the_names_stand_at_cocos_ids():
    assert len(OBJECT_NAMES) == 80
    assert [NAMES_BY_ID[number] for number in (1, 18, 44, 62, 90)] == ["person", "dog", "bottle", "chair", "toothbrush"]


def test_a_box_marks_the_cells_it_covers_and_the_surest_box_counts():
    boxes = [("dog", 0.6, 0.0, 0.0, 0.5, 0.5), ("dog", 0.9, 0.0, 0.0, 0.25, 0.25), ("unknown", 1.0, 0, 0, 1, 1)]
    targets = object_cells(boxes, (4, 4)).unflatten(0, (4, 4))
    expected = torch.zeros(4, 4)
    expected[:2, :2] = 0.6
    expected[0, 0] = 0.9
    torch.testing.assert_close(targets[..., DOG], expected)
    assert targets.sum() == pytest.approx(expected.sum())


def test_a_box_smaller_than_a_cell_marks_the_one_it_lies_in():
    targets = object_cells([("dog", 0.7, 0.55, 0.05, 0.6, 0.1)], (4, 4)).unflatten(0, (4, 4))
    assert targets[0, 2, DOG] == pytest.approx(0.7)
    assert (targets > 0).sum() == 1


def test_precision_of_presence_is_the_mean_over_the_kinds_that_occur_often_enough():
    scores = torch.tensor([[9.0, 0.0], [8.0, 1.0], [7.0, 2.0], [6.0, 3.0], [5.0, 4.0], [4.0, 5.0], [3.0, 6.0]])
    shown = torch.zeros(7, 2, dtype=torch.bool)
    shown[:5, 0] = True
    shown[0, 1] = True  # too rare to count
    assert presence_precision(scores, shown) == pytest.approx(1.0)
    assert presence_precision(-scores, shown) == pytest.approx((1 / 3 + 2 / 4 + 3 / 5 + 4 / 6 + 5 / 7) / 5)


def test_a_head_learns_where_an_object_is(tiny_model, colored_squares, tmp_path):
    photos = list(dict.fromkeys(row.image for row in load_rows(str(colored_squares))))
    grid = tiny_model.image_encoder.grid
    targets = {
        photo: object_cells([("dog" if photo.stem == "red" else "cat", 1.0, 0, 0, 1, 1)], grid) for photo in photos
    }
    head, precisions = train_head(tiny_model, targets, targets, tmp_path / "cache", epochs=60, learning_rate=0.02)
    with torch.no_grad():
        pixels = tiny_model.pixels(open_photo(next(photo for photo in photos if photo.stem == "red")))[0]
        logits = head(tiny_model.image_encoder(pixels[None]), grid)[0].mean(dim=0)
    assert logits[DOG] > logits[OBJECT_NAMES.index("cat")]
    assert len(precisions) == 60


def test_a_checkpoint_gains_object_tokens_and_keeps_them(tmp_path):
    torch.manual_seed(0)
    plain = ValmModel(ValmConfig(image_size=64, width=16, layers=1, heads=2), ["yes", "no"]).eval()
    plain.save_pretrained(tmp_path / "plain")
    head = ObjectHead(plain.image_encoder.feature_width)
    torch.nn.init.normal_(head.output.weight)
    save_file(head.state_dict(), tmp_path / "head.safetensors")
    run = RunConfig(data="", validation="", output="", init=str(tmp_path / "plain"), new_answers=0)
    config = dataclasses.replace(plain.config, object_tokens=True)

    with pytest.raises(ValueError, match=r"object_tokens is True.*has False"):
        build_model(run, config, [])
    with_head = dataclasses.replace(run, object_head=str(tmp_path / "head.safetensors"))
    model = build_model(with_head, config, []).eval()
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before, after = plain.image_encoder(pixels), model.image_encoder(pixels)
        width = model.image_encoder.feature_width
        shown = head.eval()(before[..., :width], model.image_encoder.grid).sigmoid()
    torch.testing.assert_close(after[..., :width], before[..., :width])
    torch.testing.assert_close(
        after[..., width:], before[..., width:] + shown @ model.image_encoder.object_embeddings, rtol=1e-4, atol=1e-4
    )
    model.save_pretrained(tmp_path / "with_objects")
    loaded = ValmModel.from_pretrained(tmp_path / "with_objects")
    with torch.no_grad():
        torch.testing.assert_close(loaded.image_encoder(pixels), after)


def test_a_head_needs_object_tokens_and_its_own_encoder(tiny_model, tmp_path):
    save_file(ObjectHead(8).state_dict(), tmp_path / "head.safetensors")
    with pytest.raises(ValueError, match="object_tokens: true"):
        load_object_head(tiny_model, tmp_path / "head.safetensors")
    tiny_model.image_encoder.object_head = ObjectHead(16)
    with pytest.raises(ValueError, match="doesn't fit"):
        load_object_head(tiny_model, tmp_path / "head.safetensors")


def test_boxes_are_read_as_they_were_written(tmp_path):
    (tmp_path / "boxes.jsonl").write_text(json.dumps(["/a/b.jpg", [["dog", 0.5, 0, 0, 1, 1]]]) + "\n")
    assert read_boxes(tmp_path / "boxes.jsonl") == {Path("/a/b.jpg"): [["dog", 0.5, 0, 0, 1, 1]]}
