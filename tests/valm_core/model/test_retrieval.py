"""The retrieval model: its scores against loops, what it saves, and what it refuses."""

import dataclasses

import pytest
import torch

from valm_core.checkpoints.storage import load_checkpoint, load_retrieval_checkpoint, save_checkpoint
from valm_core.model.build import build_model, build_task_model
from valm_core.model.tasks.retrieval import (
    PhotoFeatures,
    RetrievalModel,
    TextFeatures,
    late_interaction,
    pair_scores,
)


@pytest.fixture
def model(tiny_config) -> RetrievalModel:
    torch.manual_seed(3)
    return build_task_model(dataclasses.replace(tiny_config, task="retrieval")).eval()


def test_late_interaction_takes_for_every_word_its_nearest_cell():
    torch.manual_seed(0)
    words, cells = torch.randn(2, 3, 8), torch.randn(4, 5, 8)
    shares = torch.rand(2, 3).softmax(dim=-1)
    scores = late_interaction(TextFeatures(torch.zeros(2, 8), words, shares), PhotoFeatures(torch.zeros(4, 8), cells))
    for text in range(2):
        for photo in range(4):
            expected = sum(
                shares[text, word] * max(words[text, word] @ cells[photo, cell] for cell in range(5))
                for word in range(3)
            )
            assert scores[text, photo] == pytest.approx(float(expected), abs=1e-5)


@torch.no_grad()
def test_padding_and_neighbours_change_no_score(model):
    photos = model.encode_photos(torch.rand(3, 3, 32, 32))
    alone = model.encode_texts(*model.tokenizer(["red square"]))
    beside = model.encode_texts(*model.tokenizer(["red square", "is there any green square, or blue squares?"]))
    assert torch.allclose(pair_scores(model, alone, photos)[0], pair_scores(model, beside, photos)[0], atol=1e-4)
    assert torch.allclose(beside.shares.sum(dim=1), torch.ones(2))
    assert torch.allclose(beside.words.norm(dim=-1), torch.ones(2, beside.words.shape[1]), atol=1e-5)


@torch.no_grad()
def test_lower_layers_may_have_read_the_texts(tiny_config):
    model = build_task_model(dataclasses.replace(tiny_config, task="retrieval", learned_text_layers=1)).eval()
    ids, mask = model.tokenizer(["red square", "is there any blue square?"])
    lower = model.text_encoder.lower(ids, mask, 1)
    whole, split = model.encode_texts(ids, mask), model.encode_texts(None, mask, lower)
    assert torch.allclose(whole.vector, split.vector, atol=1e-5)


@torch.no_grad()
def test_a_saved_model_scores_the_same(model, tmp_path):
    save_checkpoint(model, tmp_path / "find")
    assert not (tmp_path / "find" / "answers.json").exists()
    loaded = load_retrieval_checkpoint(tmp_path / "find")
    pixels, (ids, mask) = torch.rand(2, 3, 32, 32), model.tokenizer(["red square", "blue"])
    before = pair_scores(model, model.encode_texts(ids, mask), model.encode_photos(pixels))
    after = pair_scores(loaded, loaded.encode_texts(ids, mask), loaded.encode_photos(pixels))
    assert torch.equal(before, after)


def test_a_checkpoint_of_another_task_is_refused(model, tiny_model, tmp_path):
    save_checkpoint(model, tmp_path / "find")
    save_checkpoint(tiny_model, tmp_path / "answer")
    with pytest.raises(ValueError, match="is for the task 'retrieval'; a checkpoint for 'answer' is needed"):
        load_checkpoint(tmp_path / "find")
    with pytest.raises(ValueError, match="is for the task 'answer'; a checkpoint for 'retrieval' is needed"):
        load_retrieval_checkpoint(tmp_path / "answer")
    with pytest.raises(ValueError, match="task is 'retrieval', but a model for 'answer' is needed"):
        build_model(model.config, ["yes"])


def test_a_photo_is_needed(model):
    with pytest.raises(ValueError, match="give pixels or image_tokens"):
        model.encode_photos()


@torch.no_grad()
def test_ranking_averages_fine_cells_and_maps_keep_them(model):
    tokens = torch.randn(2, 14 * 14, model.image_encoder.width)
    model.image_encoder.grid = (14, 14)
    photos = model.encode_photos(image_tokens=tokens)
    first = tokens[:, [0, 1, 14, 15]].mean(dim=1)  # the four cells of the upper left corner
    expected = torch.nn.functional.normalize(model.cell_projection(first), dim=-1)
    assert torch.allclose(photos.cells[:, 0], expected, atol=1e-5)
    assert photos.cells.shape[1] == 49
    cells = model.image_cells(image_tokens=tokens)
    assert cells.shape[:2] == (2, 196)
    assert torch.allclose(cells[1, 195], torch.nn.functional.normalize(model.cell_projection(tokens[1, 195]), dim=-1))
