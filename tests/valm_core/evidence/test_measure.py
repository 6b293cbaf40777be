"""Evidence and counterfactuals: by brute force on a tiny model, and planted answers that must be found."""

import dataclasses
import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from valm_core.answering import encode_questions
from valm_core.evidence import measure, rules
from valm_core.evidence.rules import gather_evidence, rank_correlation
from valm_core.explanations import EXPLANATION_METHODS
from valm_core.explanations.counterfactual import fewest_words, smallest_region
from valm_core.explanations.hiding import logits_without_cells
from valm_core.model.build import build_model
from valm_core.outputs import Answer, InputError
from valm_core.predictor import VqaPredictor

QUESTION = "what color is the square?"


def test_the_figures_are_those_of_asking_again(tiny_predictor, encoded):
    model = tiny_predictor.model
    found = tiny_predictor.evidence(encoded, QUESTION, method="occlusion")
    prediction = tiny_predictor.answer(encoded, QUESTION)
    assert found.answer == prediction.answers[0].text and found.method == "occlusion"
    assert found.probability == pytest.approx(prediction.answers[0].probability, abs=1e-6)
    assert found.blind_answer == prediction.blind_answers[0]
    assert found.same_as_blind == (found.blind_answer.text == found.answer)
    image_map = tiny_predictor.explain(encoded, QUESTION, method="occlusion").image_map
    _, text = encode_questions(tiny_predictor.model, [QUESTION])
    expected = []
    for cells in (1, 3, 8, 14):  # 5, 20, 50, 90 % of 16
        tokens = encoded.tokens.clone()
        tokens[0, np.argsort(-image_map.ravel(), kind="stable")[:cells]] = model.mean_image_token
        with torch.no_grad():
            logits = model(text_tokens=text.tokens, text_mask=text.mask, image_tokens=tokens).logits[0]
        expected.append(logits.softmax(dim=-1)[model.answers.index(found.answer)].item())
    assert found.hottest_hidden == pytest.approx(expected, abs=1e-6)
    others = [tiny_predictor.explain(encoded, QUESTION, method=name).image_map for name in measure.COMPARED_METHODS]
    assert found.agreement == pytest.approx(np.mean([rank_correlation(image_map, other) for other in others]))
    assert found.verdict in rules.VERDICTS and 0 <= found.evenness <= 1
    assert tiny_predictor.evidence(encoded, QUESTION, method="occlusion") == found


@pytest.mark.parametrize("fusion", ["bi_attention", "concatenation", "dual_tower"])
def test_maps_compared_in_one_pass_are_those_of_the_methods(tiny_config, encoded, fusion):
    torch.manual_seed(6)
    model = build_model(dataclasses.replace(tiny_config, fusion=fusion), ["a", "b"])
    predictor = VqaPredictor(model, torch.device("cpu"))
    _, text = encode_questions(predictor.model, [QUESTION])
    found = measure.compared_explanations(model, text, encoded, 1, method="occlusion")
    for name, explanation in zip(measure.COMPARED_METHODS, found, strict=True):
        own = EXPLANATION_METHODS[name](model, text, encoded, 1)
        np.testing.assert_allclose(explanation.image_map, own.image_map, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(explanation.token_to_patch, own.token_to_patch, atol=1e-6, err_msg=name)


def test_an_explanation_made_before_is_not_made_again(tiny_predictor, encoded, monkeypatch):
    explanation = tiny_predictor.explain(encoded, QUESTION, answer="red")
    expected = tiny_predictor.evidence(encoded, QUESTION, answer="red")

    def once_more(*_):
        raise AssertionError("the map was made again")

    monkeypatch.setitem(EXPLANATION_METHODS, explanation.method, once_more)
    assert tiny_predictor.evidence(encoded, QUESTION, answer="red", explanation=explanation) == expected
    with pytest.raises(ValueError, match="'occlusion'; use the same"):
        tiny_predictor.evidence(encoded, QUESTION, method="occlusion", explanation=explanation)


def test_any_answer_has_its_evidence(tiny_predictor, encoded):
    found = {answer: tiny_predictor.evidence(encoded, QUESTION, answer=answer) for answer in ("red", "no")}
    assert found["red"].answer == "red" and found["red"].probability != found["no"].probability
    with pytest.raises(ValueError, match="'purple'"):
        tiny_predictor.evidence(encoded, QUESTION, answer="purple")
    with pytest.raises(ValueError, match="'magic'; allowed"):
        tiny_predictor.evidence(encoded, QUESTION, method="magic")
    with pytest.raises(InputError):
        tiny_predictor.evidence(encoded, "")


def flat(probability):
    """A curve that stays where it is, whatever share is hidden."""
    return np.full(len(rules.HIDDEN_SHARES), probability)


def draws_around(probability, spread):
    """Random draws [RANDOM_DRAWS, S] whose log-odds have this mean and deviation."""
    odds = np.log(probability / (1 - probability))
    offsets = np.linspace(-1, 1, rules.RANDOM_DRAWS)
    offsets *= spread / offsets.std(ddof=1)
    return np.repeat(1 / (1 + np.exp(-(odds + offsets)))[:, None], len(rules.HIDDEN_SHARES), axis=1)


def test_each_draw_hides_more_and_more_of_one_order_and_maps_their_hottest():
    asked = (101, 2054, 102)
    image_map = np.random.default_rng(1).random((4, 5))
    hidden = rules.hidden_variants(20, asked, [image_map, -image_map])
    assert not hidden[0].any() and len(hidden) == 1 + (2 + rules.RANDOM_DRAWS) * len(rules.HIDDEN_SHARES)
    curves = hidden[1:].reshape(-1, len(rules.HIDDEN_SHARES), 20)
    assert (curves.sum(axis=2) == [1, 4, 10, 18]).all()
    assert (curves[:, 1:] >= curves[:, :-1]).all()  # what was hidden stays hidden
    assert set(np.flatnonzero(curves[0, 1])) == set(np.argsort(-image_map.ravel())[:4])
    assert (curves[1, 2] == ~curves[0, 2]).all()  # the other half
    assert len(np.unique(curves[2:, 2], axis=0)) > rules.RANDOM_DRAWS // 2
    assert (hidden == rules.hidden_variants(20, asked, [image_map, -image_map])).all()
    assert curves[2:, 0].sum(axis=0).max() == 1  # no two draws begin with the same cell
    few = rules.hidden_variants(3, asked, [np.arange(3)])[1:].reshape(-1, len(rules.HIDDEN_SHARES), 3)
    assert sorted(few[1:, 0].sum(axis=0)) == [2, 3, 3]  # as evenly as three cells allow
    others = rules.hidden_variants(20, (101, 2055, 102), [image_map, -image_map])
    drawn = 1 + 2 * len(rules.HIDDEN_SHARES)
    assert (hidden[:drawn] == others[:drawn]).all() and (hidden[drawn:] != others[drawn:]).any()  # another question
    whole, hottest, random = rules.split_variants(np.arange(len(hidden)) / 100)
    assert whole == 0 and hottest.shape == (2, 4) and random.shape == (rules.RANDOM_DRAWS, 4)
    assert hottest[1].tolist() == [0.05, 0.06, 0.07, 0.08] and random[-1, -1] == (len(hidden) - 1) / 100


def test_support_is_in_deviations_of_random_hiding():
    random = draws_around(0.5, 0.2)
    assert rules.support(flat(0.5), random) == pytest.approx(0, abs=1e-9)
    below = 1 / (1 + np.exp(0.6))  # log-odds -0.6
    assert rules.support(flat(below), random) == pytest.approx(3)
    for share in range(len(rules.HIDDEN_SHARES)):  # one is enough, whatever the others say
        one_share = flat(0.6)
        one_share[share] = below
        assert rules.support(one_share, random) == pytest.approx(3)
    wide = random.copy()
    wide[:, -1] = draws_around(0.5, 2.0)[:, -1]  # where random hiding moves it as far, a fall is worth less
    assert rules.support(np.where(np.arange(len(flat(0))) == len(flat(0)) - 1, below, 0.5), wide) == pytest.approx(0.3)
    assert rules.support(flat(0.499), draws_around(0.5, 0)) < 1  # what nothing moves supports no map


def test_one_cell_that_decides_and_many_that_say_the_same_both_support_their_map():
    orders = np.linspace(0.05, 0.95, rules.RANDOM_DRAWS)  # where the one cell stands in each random order
    few = np.where(orders[:, None] < rules.HIDDEN_SHARES, 0.3, 0.9)  # [draws, S]
    assert rules.verdict(0.9, flat(0.3), few).startswith("matters")
    many = np.repeat([[0.9, 0.9, 0.9, 0.88]], rules.RANDOM_DRAWS, axis=0)  # any tenth of the cells shows it
    assert rules.verdict(0.9, np.array([0.9, 0.9, 0.89, 0.5]), many) == "matters"


@pytest.mark.parametrize(
    ("support", "found"),
    [
        (rules.SUPPORT + 0.1, "matters"),
        (rules.SUPPORT - 0.1, "matters a little"),
        (rules.LITTLE_SUPPORT - 0.1, "no difference"),
        (-5, "no difference"),
    ],
)
def test_verdicts_follow_the_support(support, found):
    random = draws_around(0.5, 0.2)
    hottest = 1 / (1 + np.exp(0.2 * support))
    assert rules.verdict(0.5, flat(hottest), random) == found


def test_cannot_tell_only_where_no_share_moves_the_answer():
    still = draws_around(0.97, 0)
    assert rules.verdict(0.97, flat(0.97), still) == "cannot tell"
    assert rules.verdict(0.97, np.array([0.97, 0.97, 0.97, 0.9]), still) != "cannot tell"
    moved = still.copy()
    moved[:, -1] = 0.9
    assert rules.verdict(0.97, flat(0.97), moved) == "no difference"  # half the photo counts, but not where it is hot


@pytest.mark.parametrize(
    ("whole", "hottest", "random", "found"),
    [
        (0.97, 0.967, 0.97, False),
        (0.002, 0.0017, 0.002, False),
        (0.5, 0.46, 0.5, False),
        (0.5, 0.55, 0.6, False),  # hiding made it likelier
        (0.5, 0.4, 0.41, False),  # hiding anything does that
        (0.5, 0.45, 0.5, True),  # 5 points
        (0.02, 0.015, 0.02, True),  # a factor of 1.35 of the odds
        (0.97, 0.955, 0.97, True),  # a factor of 1.5
    ],
)
def test_no_good_verdict_without_an_effect(whole, hottest, random, found):
    draws = draws_around(random, 0)  # the smallest spread: support is high as soon as there is a difference
    assert rules.has_effect(whole, flat(hottest), draws) == found
    late = np.array([min(whole, random)] * 3 + [hottest])
    assert rules.has_effect(whole, late, draws) == found  # one share is enough
    one_map = np.arange(6.0).reshape(2, 3)
    told = gather_evidence("m", "a", (whole, flat(hottest)[None], draws), Answer("b", 0.1), one_map, [one_map])
    assert found or not told.verdict.startswith("matters")
    assert told.random_hidden == pytest.approx(flat(random)) and told.hottest_hidden == pytest.approx(flat(hottest))


def test_evenness_and_agreement():
    assert rules.evenness(np.full((4, 4), 1 / 16)) == pytest.approx(1)
    assert rules.evenness(np.eye(4)[:1]) == 0
    assert rules.agreement(np.arange(6), [np.arange(6) ** 2, -np.arange(6)]) == pytest.approx(0)


def test_the_region_flips_the_answer_and_no_cell_of_it_can_be_spared(tiny_predictor, encoded):
    model = tiny_predictor.model
    _, text = encode_questions(tiny_predictor.model, [QUESTION])
    flips = 0
    for answer in range(6):
        with torch.no_grad():
            model.head[-1].bias.zero_()
            logits = model(text_tokens=text.tokens, text_mask=text.mask, image_tokens=encoded.tokens).logits[0]
            model.head[-1].bias[answer] = logits.max() - logits[answer] + 1e-3  # it wins by a little
        found = smallest_region(model, text, encoded, answer)
        if found is None:
            everything = logits_without_cells(model, text, encoded, torch.ones(1, 16, dtype=torch.bool))
            assert everything.argmax() == answer
            continue
        flips += 1
        hidden = torch.from_numpy(found[0].reshape(1, 16))
        assert logits_without_cells(model, text, encoded, hidden).argmax() == found[1] != answer
        for cell in np.flatnonzero(found[0]):
            spared = hidden.clone()
            spared[0, cell] = False
            assert logits_without_cells(model, text, encoded, spared).argmax() == answer
    assert flips >= 2


def test_the_fewest_words_are_the_fewest(tiny_predictor, encoded):
    """Against every subset of the words, as far as single words and pairs go."""
    model, words = tiny_predictor.model, QUESTION.split()
    flips = 0
    for answer in range(6):
        with torch.no_grad():
            model.head[-1].bias.zero_()
            _, text = encode_questions(tiny_predictor.model, [QUESTION])
            logits = model(text_tokens=text.tokens, text_mask=text.mask, image_tokens=encoded.tokens).logits[0]
            model.head[-1].bias[answer] = logits.max() - logits[answer] + 1e-3

            def chosen(drop):
                _, rest = encode_questions(
                    tiny_predictor.model, [" ".join(w for i, w in enumerate(words) if i not in drop)]
                )
                output = model(text_tokens=rest.tokens, text_mask=rest.mask, image_tokens=encoded.tokens)
                return int(output.logits.argmax())

            sizes = [
                size
                for size in (1, 2)
                if any(chosen(drop) != answer for drop in itertools.combinations(range(len(words)), size))
            ]
            found = fewest_words(model, QUESTION, encoded, answer)
            if sizes:
                flips += 1
                assert len(found[0]) == sizes[0] and chosen(found[0]) == found[1] != answer
            elif found:
                assert len(found[0]) > 2 and chosen(found[0]) == found[1] != answer
    assert flips >= 2


def test_an_answer_that_is_not_the_likeliest_needs_nothing_dropped(tiny_predictor, encoded):
    likeliest = tiny_predictor.answer(encoded, QUESTION).answers[0].text
    other = next(answer for answer in tiny_predictor.answers if answer != likeliest)
    found = tiny_predictor.counterfactual(encoded, QUESTION, answer=other)
    assert not found.region.any() and found.words == ()
    assert found.region_answer == found.words_answer == likeliest


def test_a_counterfactual_names_answers(tiny_predictor, encoded):
    found = tiny_predictor.counterfactual(encoded, QUESTION)
    assert found.answer == tiny_predictor.answer(encoded, QUESTION).answers[0].text
    for part, answer in ((found.region, found.region_answer), (found.words, found.words_answer)):
        assert (part is None) == (answer is None) and answer != found.answer
    assert found.region is None or found.region.shape == (4, 4)
    assert tiny_predictor.counterfactual(encoded, "what").words is None  # the last word can't go
    with pytest.raises(ValueError, match="'purple'"):
        tiny_predictor.counterfactual(encoded, QUESTION, answer="purple")


def test_eight_threads_get_the_sequential_evidence(tiny_predictor, encoded):
    answers = ["red", "green", "blue", "yellow", "yes", "no"] * 4

    def gather(answer):
        return tiny_predictor.evidence(encoded, QUESTION, answer=answer)

    expected = [gather(answer) for answer in answers]
    with ThreadPoolExecutor(8) as pool:
        assert [dataclasses.asdict(found) for found in pool.map(gather, answers)] == [
            dataclasses.asdict(found) for found in expected
        ]


def test_compared_methods_are_listed():
    assert set(measure.COMPARED_METHODS) <= set(EXPLANATION_METHODS)


@pytest.mark.parametrize("method", ["grad_cam", "raw_attention"])
def test_a_words_evidence_hides_where_that_word_looked(tiny_predictor, encoded, method):
    torch.nn.init.normal_(tiny_predictor.model.mean_image_token)
    explanation = tiny_predictor.explain(encoded, QUESTION, method)
    _, text = encode_questions(tiny_predictor.model, [QUESTION])
    maps = explanation.token_to_patch
    word = next(place for place in range(len(maps)) if rules.word_doubts(maps, place) == (False, None))
    found = tiny_predictor.word_evidence(encoded, QUESTION, word, method, explanation=explanation)
    index = tiny_predictor.answers.index(found.evidence.answer)
    _, (hottest,), random = measure.hiding_probabilities(tiny_predictor.model, text, encoded, index, [maps[word]])
    assert found.word == word and found.evidence.hottest_hidden == pytest.approx(hottest)
    assert found.evidence.random_hidden == pytest.approx(random.mean(axis=0))
    others = [
        tiny_predictor.explain(encoded, QUESTION, name).token_map(word)
        for name in measure.COMPARED_METHODS
        if name != method
    ]
    assert found.evidence.agreement == pytest.approx(rules.agreement(explanation.token_map(word), others), abs=1e-5)
    assert tiny_predictor.word_evidence(encoded, QUESTION, word, method) == found
    with pytest.raises(ValueError, match="word is 5, but the question has the words 0 to 4"):
        tiny_predictor.word_evidence(encoded, QUESTION, 5, method)


def test_a_flat_word_or_a_twin_gets_no_verdict(tiny_predictor, encoded):
    explanation = tiny_predictor.explain(encoded, QUESTION)
    maps = np.random.default_rng(0).dirichlet(np.ones(16), size=5).astype(np.float32)
    maps[1], maps[3] = 1 / 16, 0.99 * maps[2] + 0.01 * maps[0]
    explanation = dataclasses.replace(explanation, token_to_patch=maps)
    found = [tiny_predictor.word_evidence(encoded, QUESTION, word, explanation=explanation) for word in range(5)]
    assert [one.flat for one in found] == [False, True, False, False, False]
    assert [one.same_as for one in found] == [None, None, 3, 2, None]
    assert [one.evidence is None for one in found] == [False, True, True, True, False]
