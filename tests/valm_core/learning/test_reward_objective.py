"""Learning from what captions are worth: what is drawn, the loss written out, whether the better become likelier."""

import collections
import dataclasses

import pytest
import torch

from valm_core.learning.captioning import RewardObjective
from valm_core.learning.training_config import TrainingConfig
from valm_core.model.build import build_caption_model
from valm_core.model.tasks.captioner import BEGIN, END, UNKNOWN
from valm_core.model.tasks.decoding import sample

VOCABULARY, PHOTOS, SAMPLES = 8, 2, 3


@pytest.fixture
def model(tiny_config):
    torch.manual_seed(0)
    sizes = {"width": 16, "heads": 2, "layers": 1, "dropout": 0.0, "max_question_tokens": 5, "vocabulary": VOCABULARY}
    return build_caption_model(dataclasses.replace(tiny_config, task="caption", **sizes)).eval()


@pytest.fixture
def pixels():
    return torch.rand(PHOTOS, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def log_probability(model, cells, photo, places):
    """Of a caption, piece by piece."""
    one = tuple((key[photo : photo + 1], value[photo : photo + 1]) for key, value in cells)
    logits = model.read(torch.tensor([[BEGIN, *places[:-1]]]), one).logits[0]
    return logits.log_softmax(dim=-1)[torch.arange(len(places)), torch.tensor(places)]


def test_captions_are_drawn_as_often_as_the_model_says(model, pixels):
    torch.manual_seed(2)
    with torch.no_grad():
        cells = model.encode_photos(pixels)
        drawn = sample(model, cells, 4000)
        first = model.read(torch.full((PHOTOS, 1), BEGIN), cells).logits[:, 0]
    first[:, [BEGIN, UNKNOWN, END]] = float("-inf")
    for photo, captions in enumerate(drawn):
        assert len(captions) == 4000
        counts = collections.Counter(places[0] for places in captions)
        shares = torch.tensor([counts[place] / 4000 for place in range(VOCABULARY)])
        torch.testing.assert_close(shares, first[photo].softmax(dim=-1), atol=0.03, rtol=0)  # four standard errors
        for places in captions:
            assert not {BEGIN, UNKNOWN} & set(places)
            assert END not in places[:-1]
            assert places[-1] == END or len(places) == 4
    assert {len(places) for places in drawn[0]} == {2, 3, 4}


def test_the_loss_is_worth_above_the_others_times_how_unlikely_each_piece_is(model, pixels):
    seen = {}

    def reward(numbers, drawn):
        seen["numbers"], seen["drawn"] = numbers, drawn
        return torch.tensor([[1.0, 0.0, 5.0], [2.0, 2.0, 2.0]])

    terms = RewardObjective(model, reward, SAMPLES)(torch.tensor([7, 3]), pixels=pixels)
    assert seen["numbers"] == [7, 3]
    assert float(terms.reward) == pytest.approx(12 / 6)
    worth = [[1 - 5 / 2, 0 - 6 / 2, 5 - 1 / 2], [0.0, 0.0, 0.0]]
    cells = model.encode_photos(pixels)
    losses = [
        -worth[photo][number] * log_probability(model, cells, photo, places)
        for photo, own in enumerate(seen["drawn"])
        for number, places in enumerate(own)
    ]
    torch.testing.assert_close(terms.total, torch.cat(losses).mean())


def test_what_is_rewarded_becomes_likelier(model, pixels):
    torch.manual_seed(3)
    model.train()

    def reward(numbers, drawn):
        return torch.tensor([[float(places[0] == 5) for places in own] for own in drawn])

    objective = RewardObjective(model, reward, 8)
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.01)
    rewards = []
    for _ in range(20):
        terms = objective(torch.tensor([0, 1]), pixels=pixels)
        optimizer.zero_grad()
        terms.total.backward()
        optimizer.step()
        rewards.append(float(terms.reward))
    assert model.training
    assert rewards[0] < 0.6
    assert min(rewards[-5:]) > 0.9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"caption_samples": 1}, "caption_samples is 1, and one caption has no others"),
        ({"caption_samples": 5, "visual_weight": 0.1}, "caption_samples is 5, where a reward is all .* Set visual"),
        ({"caption_samples": 5, "label_smoothing": 0.1}, "caption_samples is 5, where a reward is all .* Set visual"),
        ({"caption_samples": -2}, "caption_samples is -2; "),
    ],
)
def test_settings_without_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**settings)
