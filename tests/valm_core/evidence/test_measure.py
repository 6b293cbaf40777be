"""Evidence and counterfactuals: by brute force on a tiny model, and planted answers that must be found."""

import dataclasses
import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

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
    tokens = encoded.tokens.clone()
    tokens[0, np.argsort(-image_map.ravel(), kind="stable")[:2]] = model.mean_image_token  # 10 % of 16 cells
    _, text = tiny_predictor._encode_question(QUESTION)
    with torch.no_grad():
        logits = model(text_tokens=text.tokens, text_mask=text.mask, image_tokens=tokens).logits[0]
    expected = logits.softmax(dim=-1)[model.answers.index(found.answer)].item()
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
    _, text = predictor._encode_question(QUESTION)
    found = measure.compared_maps(model, text, encoded, 1, method="occlusion")
    for name, image_map in zip(measure.COMPARED_METHODS, found, strict=True):
        own = EXPLANATION_METHODS[name](model, text, encoded, 1).image_map
        np.testing.assert_allclose(image_map, own, atol=1e-6, err_msg=name)


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


def test_support_and_verdicts():
    random = np.array([0.5, 0.52, 0.48, 0.5, 0.51, 0.49, 0.5, 0.5])
    assert rules.support(0.5, random) == pytest.approx(0, abs=1e-3)
    assert rules.verdict(rules.support(0.1, random), 0.5, 0.1, 0.5) == "faithful"
    assert rules.verdict(rules.support(0.9, random), 0.5, 0.9, 0.5) == "not supported"
    assert rules.support(0.499, np.full(8, 0.5)) < 1  # what nothing moves supports no map
    assert rules.verdict(rules.WEAK_SUPPORT, 0.5, 0.4, 0.5) == "weak"


@pytest.mark.parametrize(
    ("whole", "hottest", "random", "found"),
    [
        (0.97, 0.97, 0.97, "not supported"),
        (0.97, 0.967, 0.97, "not supported"),
        (0.002, 0.002, 0.002, "not supported"),
        (0.002, 0.0017, 0.002, "not supported"),
        (0.5, 0.46, 0.5, "not supported"),
        (0.5, 0.55, 0.6, "not supported"),  # hiding made it likelier
        (0.5, 0.4, 0.41, "not supported"),  # hiding anything does that
        (0.5, 0.45, 0.5, "faithful"),  # 5 points
        (0.02, 0.015, 0.02, "faithful"),  # a factor of 1.35 of the odds
        (0.97, 0.955, 0.97, "faithful"),  # a factor of 1.5
    ],
)
def test_no_verdict_without_an_effect(whole, hottest, random, found):
    strongest = 100.0
    assert rules.verdict(strongest, whole, hottest, random) == found
    draws = np.full(rules.RANDOM_DRAWS, random)
    one_map = np.arange(6.0).reshape(2, 3)
    told = gather_evidence("m", "a", (whole, np.array([hottest]), draws), Answer("b", 0.1), one_map, [one_map])
    if found == "not supported":
        assert told.verdict == found


def test_evenness_and_agreement():
    assert rules.evenness(np.full((4, 4), 1 / 16)) == pytest.approx(1)
    assert rules.evenness(np.eye(4)[:1]) == 0
    assert rules.agreement(np.arange(6), [np.arange(6) ** 2, -np.arange(6)]) == pytest.approx(0)


def test_the_region_flips_the_answer_and_no_cell_of_it_can_be_spared(tiny_predictor, encoded):
    model = tiny_predictor.model
    _, text = tiny_predictor._encode_question(QUESTION)
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
            _, text = tiny_predictor._encode_question(QUESTION)
            logits = model(text_tokens=text.tokens, text_mask=text.mask, image_tokens=encoded.tokens).logits[0]
            model.head[-1].bias[answer] = logits.max() - logits[answer] + 1e-3

            def chosen(drop):
                _, rest = tiny_predictor._encode_question(" ".join(w for i, w in enumerate(words) if i not in drop))
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
