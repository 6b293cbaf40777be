"""The pretraining objective: what is hidden, what is told apart, and that both are learned."""

import contextlib
import dataclasses
from unittest.mock import MagicMock

import pytest
import torch

from training.datasets.readers.jsonl import read_rows
from training.datasets.statements import StatementDataset, evaluate_pretraining
from valm_core.learning.pretraining import PretrainingObjective
from valm_core.model.build import build_model

ANSWERS = ["red", "green", "blue", "yellow", "yes", "no"]


@pytest.fixture
def make_objective(tiny_config):
    """Build an objective around a fresh tiny model (seeded): make_objective(**settings of the objective)."""

    def make(**settings) -> PretrainingObjective:
        torch.manual_seed(0)
        return PretrainingObjective(build_model(tiny_config, ANSWERS), **settings)

    return make


@pytest.fixture
def ids(make_objective):
    """Token ids [400, 10] of ordinary words between [CLS] and [SEP], 2 of padding, and the masks: text, answer."""
    tokenizer = make_objective().model.tokenizer.tokenizer
    token_ids = torch.randint(5, 20, (400, 10), generator=torch.Generator().manual_seed(0))
    token_ids[:, 0], token_ids[:, 7] = tokenizer.cls_token_id, tokenizer.sep_token_id
    token_ids[:, 8:] = tokenizer.pad_token_id
    text_mask = torch.zeros(400, 10, dtype=torch.bool)
    text_mask[:, :8] = True
    answer_mask = torch.zeros_like(text_mask)
    answer_mask[:, 5:7] = True
    return token_ids, text_mask, answer_mask


def test_special_tokens_and_padding_are_never_hidden(make_objective, ids):
    objective = make_objective(word_probability=1.0, answer_probability=1.0)
    masked, hidden = objective._hide(*ids)
    assert not hidden[:, [0, 7, 8, 9]].any() and hidden[:, 1:7].all()
    assert torch.equal(masked[:, [0, 7, 8, 9]], ids[0][:, [0, 7, 8, 9]])


def test_answers_are_hidden_more_often_and_eight_of_ten_by_the_mask(make_objective, ids):
    objective = make_objective()
    torch.manual_seed(1)
    masked, hidden = objective._hide(*ids)
    assert hidden[:, 1:5].float().mean().item() == pytest.approx(0.15, abs=0.03)
    assert hidden[:, 5:7].float().mean().item() == pytest.approx(0.5, abs=0.05)
    by_mask = masked[hidden] == objective.model.tokenizer.tokenizer.mask_token_id
    same = masked[hidden] == ids[0][hidden]
    assert by_mask.float().mean().item() == pytest.approx(0.8, abs=0.05)
    assert same.float().mean().item() == pytest.approx(0.1, abs=0.04)
    assert torch.equal(masked[~hidden], ids[0][~hidden])


def test_at_least_one_token_is_hidden(make_objective, ids):
    masked, hidden = make_objective(word_probability=0.0, answer_probability=0.0)._hide(*ids)
    assert hidden.nonzero().tolist() == [[0, 1]]
    assert (masked != ids[0]).sum() <= 1


def test_the_other_photo_is_never_the_same_one(make_objective):
    objective = make_objective()
    photo_ids = torch.tensor([0, 0, 1, 2, 2, 2])
    text, image = torch.randn(6, 16), torch.randn(6, 16)
    for _ in range(50):
        other = objective._hard_negatives(text, image, photo_ids)
        assert (photo_ids[other] != photo_ids).all()


def test_similar_photos_are_drawn_most(make_objective):
    objective = make_objective()
    with torch.no_grad():
        for layer in (objective.contrastive.text, objective.contrastive.image):
            layer.weight.copy_(torch.eye(16))
            layer.bias.zero_()
    direction = torch.eye(16)
    text, image = direction[[0, 1, 2]], direction[[0, 1, 2]] + 0.9 * direction[[3, 0, 5]]  # the second photo fits 0 too
    drawn = torch.stack([objective._hard_negatives(text, image, torch.arange(3))[0] for _ in range(100)])
    assert (drawn == 1).float().mean() > 0.95


def test_a_batch_about_one_photo_is_matched_with_itself(make_objective, colored_squares):
    objective = make_objective()
    dataset = StatementDataset(read_rows(colored_squares)[:2], objective.model)
    terms = objective(**dataset.collate([0, 1]))
    assert objective._hard_negatives(torch.randn(2, 16), torch.randn(2, 16), torch.tensor([3, 3])).tolist() == [0, 1]
    assert terms.contrastive.item() == 0 and terms.total.isfinite()


def test_the_total_is_the_sum_and_the_answer_head_stays(make_objective, colored_squares):
    objective = make_objective()
    batch = StatementDataset(read_rows(colored_squares), objective.model).collate(list(range(8)))
    terms = objective(**batch)
    torch.testing.assert_close(terms.total, terms.masked_language + terms.matching + terms.contrastive)
    terms.total.backward()
    for name, parameter in objective.named_parameters():
        learns = parameter.grad is not None and parameter.grad.abs().sum() > 0
        assert (
            learns
            or name.startswith(("model.head.", "model.text_encoder.", "model.image_encoder."))
            or ("key_value.bias" in name or "pooling.score.2.bias" in name or "cross_norm.bias" in name)
        ), name
    assert all(parameter.grad is None for parameter in objective.model.head.parameters())


# ---- statements ------------------------------------------------------------------------------------------------------


def statement_of(tiny_model, row, room: int = 16) -> tuple[list[str], list[str]]:
    """The tokens of one row as a statement, and those that belong to the answer."""
    tiny_model.tokenizer.max_tokens = room
    batch = StatementDataset([row], tiny_model).collate([0])
    words = tiny_model.tokenizer.tokenizer.convert_ids_to_tokens(batch["token_ids"][0].tolist())
    assert batch["text_mask"].all()
    return words, [word for word, inside in zip(words, batch["answer_mask"][0].tolist(), strict=True) if inside]


def test_a_statement_is_the_question_with_its_first_answer(tiny_model, colored_squares):
    row = dataclasses.replace(read_rows(colored_squares)[0], answers=("red", "blue"))
    words, answer = statement_of(tiny_model, row)
    assert words == ["[CLS]", "what", "color", "is", "the", "square", "?", "red", "[SEP]"] and answer == ["red"]


def test_of_a_long_statement_the_question_is_cut_and_not_the_answer(tiny_model, colored_squares):
    row = dataclasses.replace(read_rows(colored_squares)[0], answers=("green red",))
    words, answer = statement_of(tiny_model, row, room=8)
    assert words == ["[CLS]", "what", "color", "is", "the", "green", "red", "[SEP]"] and answer == ["green", "red"]
    row = dataclasses.replace(row, answers=("red red red red red red red red",))
    words, answer = statement_of(tiny_model, row, room=8)
    assert words == ["[CLS]", "what", "color", "is", "red", "red", "red", "[SEP]"] and answer == ["red"] * 3


def test_a_caption_stands_for_itself(tiny_model, colored_squares):
    row = dataclasses.replace(read_rows(colored_squares)[0], question="the red square", answers=())
    assert statement_of(tiny_model, row) == (["[CLS]", "the", "red", "square", "[SEP]"], [])


def test_shorter_statements_are_padded(tiny_model, colored_squares):
    dataset = StatementDataset(read_rows(colored_squares), tiny_model)
    batch = dataset.collate([0, 1, 4])
    assert dataset.lengths[:2] == [9, 8] and batch["token_ids"].shape == (3, 9)
    assert batch["text_mask"].sum(dim=1).tolist() == [9, 8, 9]
    assert batch["answer_mask"].sum(dim=1).tolist() == [1, 1, 1]
    assert batch["photo_ids"].tolist() == [0, 0, 2] and batch["photo_index"].tolist() == [0, 0, 1]


# ---- evaluation and learning -----------------------------------------------------------------------------------------


def test_the_evaluation_repeats_itself_and_leaves_the_random_state(make_objective, colored_squares):
    objective = make_objective()
    dataset = StatementDataset(read_rows(colored_squares), objective.model)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = evaluate_pretraining(objective, dataset)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    assert evaluate_pretraining(objective, dataset) == first
    assert first["accuracy"] == first["validation_masked_accuracy"]
    assert first["validation_total"] == pytest.approx(
        sum(first[f"validation_{name}"] for name in ("masked_language", "matching", "contrastive")), abs=1e-5
    )


def test_it_learns_which_photo_fits_and_what_was_hidden(make_objective, colored_squares):
    """The color stands in the photo alone: naming the hidden one and telling photos apart both need it."""
    objective = make_objective(word_probability=0.0, answer_probability=1.0)
    rows = [row for row in read_rows(colored_squares) if row.source == "colors"]
    dataset = StatementDataset(rows, objective.model)
    batch = dataset.collate([0, 1, 2, 3])
    batch["image_tokens"] = objective.model.encode_image(batch.pop("pixels")).tokens
    before = evaluate_pretraining(objective, dataset)
    torch.manual_seed(1)
    objective.train()
    optimizer = torch.optim.AdamW([p for p in objective.parameters() if p.requires_grad], lr=5e-3)
    for _ in range(120):
        objective(**batch).total.backward()
        optimizer.step()
        optimizer.zero_grad()
    after = evaluate_pretraining(objective, dataset)
    assert before["accuracy"] < 0.5 and after["accuracy"] > 0.9
    assert before["validation_matching_accuracy"] < 0.8 and after["validation_matching_accuracy"] == 1.0
    assert after["validation_contrastive"] < 0.2 < before["validation_contrastive"]


@pytest.mark.parametrize(("name", "expected"), [("cpu", []), ("cuda:1", ["cuda:1"])])
def test_validation_keeps_the_random_state_of_the_device_that_it_seeds(name, expected, monkeypatch):
    kept = []

    @contextlib.contextmanager
    def fork(devices):
        kept.extend(map(str, devices))
        yield

    monkeypatch.setattr(torch.random, "fork_rng", fork)
    monkeypatch.setattr(torch, "manual_seed", kept.append)
    objective = MagicMock(side_effect=lambda: _Terms(torch.tensor(1.0)))
    objective.model.device = torch.device(name)
    dataset = MagicMock(collate=lambda _: {}, __len__=lambda _: 2)
    assert evaluate_pretraining(objective, dataset)["accuracy"] == 1
    assert kept == [*expected, 0]  # kept before it is seeded


@dataclasses.dataclass
class _Terms:
    masked_accuracy: torch.Tensor
