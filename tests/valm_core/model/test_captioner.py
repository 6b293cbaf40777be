"""The decoder: no piece sees a later one, cached steps equal the whole, captions in one row don't mix, hidden cells."""

import itertools

import pytest
import torch

from valm_core.config import ValmConfig
from valm_core.model.build import build_caption_model
from valm_core.model.tasks.beam_search import BEGIN, END, UNKNOWN
from valm_core.model.tasks.decoding import decode

VOCABULARY = 9


@pytest.fixture(scope="module")
def model(tiny_config):
    torch.manual_seed(0)
    config = ValmConfig(
        task="caption",
        text_encoder=tiny_config.text_encoder,
        image_encoder=tiny_config.image_encoder,
        image_size=32,
        width=16,
        heads=2,
        layers=2,
        max_question_tokens=6,
        vocabulary=VOCABULARY,
    )
    return build_caption_model(config).eval()


@pytest.fixture(scope="module")
def cells(model):
    with torch.no_grad():
        return model.encode_photos(torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1)))


PLACES = torch.tensor([[BEGIN, 4, 5, 6], [BEGIN, 7, 8, 3], [BEGIN, 5, 5, 4]])


@torch.no_grad()
def test_a_later_piece_changes_no_earlier_logit(model, cells):
    other = PLACES.clone()
    other[:, 2:] = 3
    torch.testing.assert_close(model.read(PLACES, cells).logits[:, :2], model.read(other, cells).logits[:, :2])
    assert not torch.allclose(model.read(PLACES, cells).logits[:, 2], model.read(other, cells).logits[:, 2])


@torch.no_grad()
def test_step_by_step_says_what_the_whole_says(model, cells):
    past, steps = (), []
    for step in range(PLACES.shape[1]):
        reading = model.read(PLACES[:, step : step + 1], cells, past)
        past = reading.past
        steps.append(reading.logits)
    torch.testing.assert_close(torch.cat(steps, dim=1), model.read(PLACES, cells).logits)


@torch.no_grad()
def test_captions_in_one_row_do_not_see_each_other(model, cells):
    one = tuple((key[:1], value[:1]) for key, value in cells)
    row = torch.cat([PLACES[0], PLACES[1]])[None]
    captions, positions = torch.tensor([[0] * 4 + [1] * 4]), torch.tensor([[0, 1, 2, 3] * 2])
    together = model.read(row, one, order=(captions, positions)).logits
    apart = model.read(PLACES[:2], tuple((key[[0, 0]], value[[0, 0]]) for key, value in cells)).logits
    torch.testing.assert_close(together.view(2, 4, -1), apart)


@torch.no_grad()
def test_weights_sum_to_1_and_hidden_cells_are_not_read(model, cells):
    count = cells[0][0].shape[2]
    hidden = torch.zeros(3, count, dtype=torch.bool)
    hidden[:, 0] = True
    reading = model.read(PLACES, cells, return_weights=True, hidden=hidden)
    assert reading.weights.shape == (2, 3, 2, 4, count)  # layers, captions, heads, pieces, cells
    torch.testing.assert_close(reading.weights.sum(dim=-1), torch.ones(2, 3, 2, 4))
    assert reading.weights[..., 0].max() == 0 < reading.weights[..., 1].min()
    torch.testing.assert_close(reading.logits, model.read(PLACES, cells, hidden=hidden).logits)
    whole = model.read(PLACES, cells, return_weights=True).logits
    torch.testing.assert_close(whole, model.read(PLACES, cells).logits)
    assert not torch.allclose(whole, reading.logits)


@torch.no_grad()
def all_captions(model, cells, longest):
    """Mean log-probability of every caption of up to ``longest`` pieces that decoding allows, by its places."""
    scores = {}
    content = [place for place in range(VOCABULARY) if place not in (BEGIN, END, UNKNOWN)]
    for length in range(1, longest + 1):
        for body in itertools.product(content, repeat=length):
            places = (*body, END) if length < longest else body
            read = model.read(torch.tensor([[BEGIN, *places[:-1]]]), cells).logits[0].log_softmax(dim=-1)
            scores[places] = float(read[range(len(places)), places].mean())
    return scores


def test_a_search_as_wide_as_the_vocabulary_finds_the_best_of_all_captions(model, cells):
    one = tuple((key[:1], value[:1]) for key, value in cells)
    scores = all_captions(model, one, longest=2)
    found = decode(model, one, beams=VOCABULARY * VOCABULARY, longest=2)[0]
    best = max(scores, key=scores.get)
    assert found[0].places == best
    assert found[0].score == pytest.approx(scores[best], abs=1e-5)
    for caption in found:
        assert caption.score == pytest.approx(scores[caption.places], abs=1e-5)


def test_greedy_takes_the_likeliest_piece_and_beams_do_no_worse(model, cells):
    greedy, wide = decode(model, cells, beams=1), decode(model, cells, beams=4)
    for photo in range(3):
        one = tuple((key[photo : photo + 1], value[photo : photo + 1]) for key, value in cells)
        places = []
        for step in range(5):
            with torch.no_grad():
                logits = model.read(torch.tensor([[BEGIN, *places]]), one).logits[0, -1]
            logits[[BEGIN, UNKNOWN]] = float("-inf")
            if step == 0:
                logits[END] = float("-inf")
            for first in range(len(places) - 2):
                if places[first : first + 2] == places[-2:]:
                    logits[places[first + 2]] = float("-inf")
            places.append(int(logits.argmax()))
            if places[-1] == END:
                break
        assert greedy[photo][0].places == tuple(places)
        assert wide[photo][0].score >= greedy[photo][0].score - 1e-6
        assert [caption.score for caption in wide[photo]] == sorted((c.score for c in wide[photo]), reverse=True)


def test_no_three_pieces_come_twice(model, cells):
    stubborn = build_stubborn(model)
    (caption,) = decode(stubborn, cells, beams=1)[0]
    trigrams = [caption.places[first : first + 3] for first in range(len(caption.places) - 2)]
    assert len(caption.places) == 5  # to the last place: its end is unlikely
    assert len(trigrams) == len(set(trigrams))


def build_stubborn(model):
    """A copy that would say piece 4 for ever."""
    import copy

    stubborn = copy.deepcopy(model)
    with torch.no_grad():
        stubborn.bias[4] = 50.0
        stubborn.bias[5] = 20.0
    return stubborn


@pytest.mark.parametrize(("beams", "longest"), [(0, None), (3, 0), (3, 6)])
def test_senseless_searches_are_refused(model, cells, beams, longest):
    with pytest.raises(ValueError, match=r"beams is .*, longest .*; allowed: from 1, and 1 to 5"):
        decode(model, cells, beams, longest)
