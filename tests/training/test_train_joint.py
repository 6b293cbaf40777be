"""Joint training: its batches, the terms of its loss against slow formulas, the command from files to checkpoint."""

import json
import math

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from toy_data import write_joint_data

from training.datasets.joint_data import BALANCED, FILL_IN, JointSources, joint_data
from training.joint.batches import JointBatches, cells_in_boxes, open_photos
from training.joint.config import JointConfig
from training.joint.losses import caption_term, distinct_term, function_term, region_term
from training.train_joint import check_model, main, progress_at, stored_config
from valm_core.checkpoints.storage import load_checkpoint
from valm_core.config import ValmConfig
from valm_core.model.encoders.text_encoder import build_tokenizer
from valm_core.outputs import InputError
from valm_core.predictor import VqaPredictor


@pytest.fixture
def batches(tmp_path, tiny_config, wordnet) -> JointBatches:
    """The toy photos, in 16 x 16 pixels."""
    sources = JointSources(**write_joint_data(tmp_path))
    data = joint_data(sources, build_tokenizer(tiny_config.text_encoder), concepts=12)
    pixels = open_photos([sources.photo_path(photo) for photo in data["photos"]], 16, 0)
    return JointBatches(data["arrays"], pixels, len(data["answers"]), len(data["concepts"]), "cpu")


def planted_boxes(count: int = 40, side: int = 64) -> JointBatches:
    """Black photos with a white box on the left, of which the second half are sided."""
    pixels = torch.zeros(count, 3, side, side, dtype=torch.uint8)
    pixels[:, :, 16:48, 12:28] = 255
    batches = JointBatches.__new__(JointBatches)
    batches.device, batches.pixels = "cpu", pixels
    batches.boxes = torch.full((count, 2, 4), torch.nan)
    batches.boxes[:, 0] = torch.tensor([12, 16, 28, 48]) / side
    batches.sided = torch.arange(count) >= count // 2
    return batches


def test_boxes_follow_their_photos_through_crops_and_mirrors():
    torch.manual_seed(0)
    pixels, boxes = planted_boxes().cropped(torch.arange(40), 96)
    bright = pixels.mean(dim=1)
    mirrored = 0
    for photo, (x0, y0, x1, y1) in zip(bright, boxes[:, 0].tolist(), strict=True):
        rows, columns = (photo > (photo.max() + photo.min()) / 2).nonzero().T
        found = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / 96
        torch.testing.assert_close(found, torch.tensor([x0, y0, x1, y1]), atol=0.025, rtol=0)
        mirrored += x0 + x1 > 1
    assert 5 <= mirrored <= 15  # about half of the 20 that may be
    assert (boxes[20:, 0, 0] + boxes[20:, 0, 2] < 1).all()  # what has a left and a right stays
    assert boxes[:, 1].isnan().all() and ((pixels >= 0) & (pixels <= 1)).all()


def test_cells_in_boxes():
    nan = [math.nan] * 4
    boxes = torch.tensor([[[0.0, 0.0, 0.5, 0.25], nan], [nan, nan], [[0.5, 0.5, 1.0, 1.0], [0.0, 0.0, 0.3, 0.3]]])
    inside = cells_in_boxes(boxes, 4).reshape(3, 4, 4).int().tolist()
    assert inside[0] == [[1, 1, 0, 0], [0] * 4, [0] * 4, [0] * 4]
    assert inside[1] == [[0] * 4] * 4
    assert inside[2] == [[1, 0, 0, 0], [0] * 4, [0, 0, 1, 1], [0, 0, 1, 1]]


def test_a_blind_batch_has_questions_targets_and_what_is_balanced(batches):
    inputs, targets = batches.blind_batch(50)
    assert inputs["token_ids"].shape == inputs["text_mask"].shape and len(targets) == len(inputs["balanced"]) == 50
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(50))
    assert inputs["text_mask"][:, 0].all() and (inputs["token_ids"][~inputs["text_mask"]] == 0).all()
    kinds = torch.tensor([BALANCED] * 20)
    assert (batches.balanced(kinds) == 1).all()
    torch.manual_seed(0)
    assert 0 < batches.balanced(torch.tensor([FILL_IN] * 40)).mean() < 1


def test_a_photo_batch_has_each_photo_once_and_at_most_so_many_questions(batches):
    photos = [3, 0, 17]
    batch = batches.photo_batch(photos, (1, 1, 0, 1, 0), 16)
    assert batch["pixels"].shape == (3, 3, 16, 16) and batch["labels"].shape == (3, 12)
    counts = torch.bincount(batch["photo_index"], minlength=3)
    assert (counts >= 1).all() and (counts <= 3).all()
    assert batch["caption_index"].tolist() == [0, 1, 2]
    assert len(batch["ids"]) == counts.sum() + 3 and len(batch["targets"]) == counts.sum()


def test_maps_of_person_words_are_to_lie_in_persons_boxes():
    maps = torch.tensor([[[0.7, 0.3], [0.1, 0.9]], [[0.5, 0.5], [0.5, 0.5]]])
    person = torch.tensor([[True, False], [True, True]])
    inside = torch.tensor([[True, False], [False, False]])  # the second photo has no box
    torch.testing.assert_close(region_term(maps, person, inside), torch.tensor(-math.log(0.7)))
    assert region_term(maps, person & False, inside) == 0


def test_function_words_and_alike_maps_cost():
    pooling = torch.tensor([[0.6, 0.4], [1.0, 0.0]])
    function = torch.tensor([[True, False], [True, True]])  # the second question has no content word
    torch.testing.assert_close(function_term(pooling, function, ~function), torch.tensor(-math.log(0.4)))

    maps = torch.tensor([[[0.6, 0.3, 0.1], [0.6, 0.3, 0.1], [0.1, 0.3, 0.6], [0.2, 0.2, 0.6]]])
    content = torch.tensor([[True, True, True, False]])
    expected = []
    for one in range(3):
        for other in range(3):
            if one != other:
                expected.append(max(0.0, np.corrcoef(maps[0, one], maps[0, other])[0, 1]))
    assert distinct_term(maps, content).item() == pytest.approx(np.mean(expected), abs=1e-5)


def test_captions_find_their_photos():
    cosine = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))  # 2 captions, 3 photos
    said = torch.tensor([[True, True, False, False], [True, False, True, True]])
    own, scale = torch.tensor([0, 2]), torch.tensor(8.0)
    score = torch.tensor(
        [[8 * np.mean([cosine[c, p, t].max() for t in range(4) if said[c, t]]) for p in range(3)] for c in range(2)]
    )
    there = -(score[0, 0] - score[0].logsumexp(0) + score[1, 2] - score[1].logsumexp(0)) / 2
    back = -(score[0, 0] - score[:, 0].logsumexp(0) + score[1, 2] - score[:, 2].logsumexp(0)) / 2
    torch.testing.assert_close(caption_term(cosine, said, own, scale.log()), ((there + back) / 2).float())
    assert caption_term(cosine[:0], said[:0], own[:0], scale.log()) == 0


def test_a_stage_ends_by_steps_or_by_time():
    assert progress_at(3, 12, 0.0, 1e-9) == 0.25 and progress_at(12, 12, 0.0, 1e9) == 1
    assert progress_at(5, 0, 0.0, 1e-9) > 1 and progress_at(0, 0, 0.0, 0) == 1


@pytest.fixture
def config(tiny_config, tmp_path):
    """A config of the tiny model and the toy data, with steps for a bound."""
    names = ("text_encoder", "image_encoder", "image_size", "width", "layers", "heads", "dropout")
    model = {name: getattr(tiny_config, name) for name in names}
    model |= {"concepts": 12, "similarity": True, "question_head": True, "glimpse_width": 8, "cell_width": 16}
    training = {"question_steps": 5, "steps": 30, "photos": 16, "blind": 8, "side": 32, "photo_side": 40, "workers": 0}
    rates = {"learning_rate": 5e-3, "backbone_learning_rate": 1e-3, "text_learning_rate": 1e-3, "average": 0.8}
    sections = {"data": write_joint_data(tmp_path / "data"), "model": model, "training": training | rates}
    path = tmp_path / "joint.yaml"
    path.write_text(yaml.safe_dump(sections), encoding="utf-8")
    return path


def test_the_command_learns_and_its_checkpoint_answers(config, tmp_path, capsys, wordnet):
    output = tmp_path / "run"
    main(["--config", str(config), "steps=40", "--output", str(output), "--device", "cpu"])
    told = capsys.readouterr().out
    assert "python -m training.calibrate --checkpoint" in told and "step 40 epoch" in told

    run = json.loads((output / "run.json").read_text())
    first, last = run["history"][0], run["history"][-1]
    assert (run["question_steps"], run["steps"], first["step"], last["step"]) == (5, 40, 1, 40)
    for name in ("all", "task", "concepts"):
        assert last[name] < 0.9 * first[name], name
    assert run["training"]["steps"] == 40 and run["data"]["answers"] == 8

    model = load_checkpoint(output / "checkpoint")  # strict
    assert (model.config.train_text_encoder, model.config.train_image_encoder) == (False, True)
    assert model.config.photo_detail == 0  # photos were kept larger than the model takes them
    assert model.config.learned_text_layers == 2 and len(model.concepts) == model.config.concepts == 12
    assert model.mean_image_token.abs().max() > 0 and model.image_encoder.grid == (4, 4)
    predictor = VqaPredictor(model, torch.device("cpu"))
    prediction = predictor.answer(
        predictor.encode(Image.new("RGB", (40, 30), (220, 30, 30))), "what color is the square?"
    )
    assert prediction.answers[0].text in model.answers


def test_a_checkpoint_is_shown_no_more_detail_than_it_learned_from(tiny_model):
    assert [stored_config(tiny_model, side).photo_detail for side in (24, 32, 40)] == [24, 0, 0]


@pytest.mark.parametrize(
    ("setting", "fault"),
    [
        ("stepz=3", "no setting `stepz`. Did you mean `steps`"),
        ("photos=1", "photos is 1; allowed: a number from 2"),
        ("average=1.0", "average is 1.0; allowed: a number from 0 to below 1"),
        ("concepts=0", "concepts is 0; joint training needs a number above 0"),
        ("resize=crop", "no setting `resize`. It is gone"),
        ("captions=nowhere", "There is no data file nowhere"),
        ("questions=[my/statements]", "lies in a folder named `statements`"),
        ("device", "'device' is no setting"),
    ],
)
def test_the_command_refuses_with_a_line(config, tmp_path, capsys, setting, fault):
    with pytest.raises(SystemExit) as ended:
        main(["--config", str(config), "--output", str(tmp_path / "run"), "--device", "cpu", setting])
    told = capsys.readouterr().err
    assert ended.value.code == 2 and fault in told and len(told.splitlines()) == 1
    assert not (tmp_path / "run" / "checkpoint").exists()


def test_a_photo_that_cant_be_read_is_named(tmp_path):
    (tmp_path / "a.png").write_text("no photo")
    with pytest.raises(InputError, match=r"a\.png can't be read"):
        open_photos([tmp_path / "a.png"], 8, 0)


def test_processes_open_the_same_photos(tmp_path):
    for number in range(3):
        Image.new("RGB", (9, 7), (number * 100, 10, 250)).save(tmp_path / f"{number}.png")
    paths = [tmp_path / f"{number}.png" for number in (2, 0, 1)]
    squares = open_photos(paths, 8, 1)
    assert torch.equal(squares, open_photos(paths, 8, 0)) and squares.dtype == torch.uint8
    assert squares[:, :, 3, 3].tolist() == [[200, 10, 250], [0, 10, 250], [100, 10, 250]]


def test_both_bounds_at_0_learn_nothing_and_are_refused():
    with pytest.raises(ValueError, match="seconds and steps are both 0"):
        JointConfig(seconds=0.0)
    with pytest.raises(ValueError, match="similarity is False"):
        check_model(ValmConfig(concepts=3, question_head=True))
