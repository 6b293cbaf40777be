"""Every explanation method on every fusion family, against slow reference implementations written out here."""

import copy
import dataclasses
import gc
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from valm_core.config import ValmConfig
from valm_core.explanations import EXPLANATION_METHODS
from valm_core.explanations.occlusion import pixel_occlusion
from valm_core.method_names import CONTROLS, DEFAULT_METHOD, METHOD_NAMES
from valm_core.model.build import build_model
from valm_core.model.fusion.families import FUSIONS
from valm_core.model.model import ValmModel

ANSWERS = ["red", "green", "blue", "yellow", "yes", "no"]
QUESTIONS = ["what color is the square?", "is there any red?", "how many squares"]
GRADIENT_METHODS = ("grad_cam", "gradient_relevancy")
CELLS = 16


@pytest.fixture(scope="module", params=FUSIONS)
def built(request, tiny_config):
    """A tiny model of each family, weights large enough for its maps to be far from flat; and torch's random state."""
    torch.manual_seed(3)
    model = build_model(dataclasses.replace(tiny_config, fusion=request.param), ANSWERS).eval()
    for parameter in model.fusion.parameters():
        if parameter.ndim == 2:
            parameter.data *= 2
    model.mean_image_token.copy_(torch.randn(16, generator=torch.Generator().manual_seed(4)))
    return model, torch.get_rng_state()


@pytest.fixture
def model(built) -> ValmModel:
    """A fresh copy of it."""
    torch.set_rng_state(built[1])
    return copy.deepcopy(built[0])


@torch.no_grad()
def encoded(model, seed: int = 0):
    pixels = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    text = model.encode_question(*model.tokenizer([QUESTIONS[seed % len(QUESTIONS)]]))
    return text, model.encode_image(pixels)


def attention_and_gradients(model, text, image, answer):
    """The maps [H, query, key] as a list of (query, key, layer, kind, weights, weighted), and the features."""
    image_tokens = image.tokens.clone().requires_grad_(True)
    text_tokens = text.tokens.clone().requires_grad_(True)
    output = model(text_tokens=text_tokens, text_mask=text.mask, image_tokens=image_tokens, return_attention=True)
    maps = []
    for step in output.features.attention:
        (gradient,) = torch.autograd.grad(output.logits[0, answer], step.weights, retain_graph=True, allow_unused=True)
        weighted = None if gradient is None else (gradient * step.weights)[0].clamp_min(0).detach().numpy()
        maps.append((step.query, step.key, step.layer, step.kind, step.weights[0].detach().numpy(), weighted))
    return maps, output.features


def normalized(matrix):
    """Equations 8 and 9 of Chefer et al. 2021, row by row."""
    result = np.eye(len(matrix))
    for row in range(len(matrix)):
        added = matrix[row] - np.eye(len(matrix))[row]
        if added.sum() > 0:
            result[row] += added / added.sum()
    return result


def slow_relevancy(maps, tokens):
    """The relevancy rules with one matrix a block, as the paper writes them; joint maps on one matrix over all."""
    everything = tokens + CELLS
    if maps[0][0] == "joint":
        joint = np.eye(everything)
        for *_, weighted in maps:
            joint = joint + weighted.mean(axis=0) @ joint
        return joint
    tt, ii = np.eye(tokens), np.eye(CELLS)
    ti, it = np.zeros((tokens, CELLS)), np.zeros((CELLS, tokens))
    for layer in sorted({step[2] for step in maps}):
        of_layer = {step[:2]: step[5] for step in maps if step[2] == layer and step[3] == "attention"}
        if ("text", "image") in of_layer:
            read_image = of_layer["text", "image"].mean(axis=0)  # Ā [T, N]
            read_text = of_layer["image", "text"].mean(axis=0)  # Ā [N, T]
            ti_new = ti + normalized(tt).T @ read_image @ normalized(ii)
            tt_new = tt + read_image @ it
            it_new = it + normalized(ii).T @ read_text @ normalized(tt)
            ii_new = ii + read_text @ ti
            tt, ti, it, ii = tt_new, ti_new, it_new, ii_new
        text_self = of_layer["text", "text"].mean(axis=0)
        tt, ti = tt + text_self @ tt, ti + text_self @ ti
        image_self = of_layer["image", "image"].mean(axis=0)
        ii, it = ii + image_self @ ii, it + image_self @ it
    return np.block([[tt, ti], [it, ii]])


def read_off(features, joint, tokens):
    """Gate and pooling times the joint matrix: what each text token and each cell counts."""
    gate = features.gate.item()
    row = np.concatenate(
        [gate * features.text_pooling[0].detach().numpy(), (1 - gate) * features.image_pooling[0].detach().numpy()]
    )
    counts = row @ joint
    return counts[:tokens] / counts[:tokens].sum(), counts[tokens:] / counts[tokens:].sum()


def to_one(rows):
    return rows / rows.sum(axis=-1, keepdims=True)


def similarity_of(maps):
    return next((step[4].mean(axis=0) for step in maps if step[3] == "similarity"), None)


@pytest.mark.parametrize("method", EXPLANATION_METHODS)
def test_every_map_is_a_distribution(model, method):
    text, image = encoded(model)
    tokens = text.tokens.shape[1]
    explanation = EXPLANATION_METHODS[method](model, text, image, 2)
    assert explanation.method == method and explanation.image_map.shape == (4, 4)
    layers, heads = explanation.text_to_image.shape[:2]
    assert explanation.text_to_image.shape == (layers, heads, tokens, CELLS)
    assert explanation.image_to_text.shape == (layers, heads, CELLS, tokens)
    for values, shape in (
        (explanation.image_map.ravel(), (CELLS,)),
        (explanation.token_scores, (tokens,)),
        (explanation.token_to_patch, (tokens, CELLS)),
        (explanation.patch_to_token, (CELLS, tokens)),
        (explanation.text_to_image, explanation.text_to_image.shape),
        (explanation.image_to_text, explanation.image_to_text.shape),
    ):
        assert values.shape == shape and (values >= 0).all()
        np.testing.assert_allclose(values.sum(axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize("answer", range(len(ANSWERS)))
def test_relevancy_equals_a_slow_derivation(model, answer):
    text, image = encoded(model)
    tokens = text.tokens.shape[1]
    maps, features = attention_and_gradients(model, text, image, answer)
    joint = slow_relevancy(maps, tokens)
    explanation = EXPLANATION_METHODS["gradient_relevancy"](model, text, image, answer)
    token_scores, image_map = read_off(features, joint, tokens)
    np.testing.assert_allclose(explanation.token_scores, token_scores, atol=1e-5)
    np.testing.assert_allclose(explanation.image_map.ravel(), image_map, atol=1e-5)
    similarity = similarity_of(maps)
    rows = joint[:tokens, tokens:] if similarity is None else similarity @ joint[tokens:, tokens:]
    np.testing.assert_allclose(explanation.token_to_patch, to_one(rows), atol=1e-5)


def test_rollout_equals_the_product_by_hand(model):
    text, image = encoded(model)
    tokens = text.tokens.shape[1]
    maps, features = attention_and_gradients(model, text, image, 0)
    everything = tokens + CELLS
    place = {"text": range(tokens), "image": range(tokens, everything), "joint": range(everything)}
    product = np.eye(everything)
    for layer in range(2):
        for kinds in (("cross", False), ("self", True)):
            step = np.zeros((everything, everything))
            for query, key, of_layer, kind, weights, _ in maps:
                if of_layer == layer and kind == "attention" and (query == key) == kinds[1]:
                    step[np.ix_(place[query], place[key])] = weights.mean(axis=0)
            if step.any():
                product = (step + np.eye(everything)) / 2 @ product
    explanation = EXPLANATION_METHODS["attention_rollout"](model, text, image, 0)
    token_scores, image_map = read_off(features, product, tokens)
    np.testing.assert_allclose(explanation.token_scores, token_scores, atol=1e-5)
    np.testing.assert_allclose(explanation.image_map.ravel(), image_map, atol=1e-5)
    np.testing.assert_allclose(product.sum(axis=1), 1, atol=1e-5)


def test_grad_cam_is_the_sum_of_what_was_read(model):
    text, image = encoded(model)
    tokens = text.tokens.shape[1]
    maps, _ = attention_and_gradients(model, text, image, 1)
    output = model(text_tokens=text.tokens, text_mask=text.mask, image_tokens=image.tokens, return_attention=True)
    poolings = [output.features.text_pooling, output.features.image_pooling]
    gradients = torch.autograd.grad(output.logits[0, 1], poolings)
    counts = np.concatenate(
        [(part * gradient)[0].clamp_min(0).detach().numpy() for part, gradient in zip(poolings, gradients, strict=True)]
    )
    place = {"text": slice(0, tokens), "image": slice(tokens, None), "joint": slice(0, None)}
    for _, key, _, kind, _, weighted in maps:
        if kind == "attention":
            counts[place[key]] += weighted.mean(axis=0).sum(axis=0)
    explanation = EXPLANATION_METHODS["grad_cam"](model, text, image, 1)
    np.testing.assert_allclose(explanation.token_scores, to_one(counts[:tokens]), atol=1e-5)
    np.testing.assert_allclose(explanation.image_map.ravel(), to_one(counts[tokens:]), atol=1e-5)


@torch.no_grad()
def test_occlusion_equals_brute_force(model):
    text, image = encoded(model)
    answer = 3

    def ask(tokens, mask):
        return model(text_tokens=text.tokens, text_mask=mask, image_tokens=tokens)

    before = ask(image.tokens, text.mask)
    probability = before.logits.softmax(dim=-1)[0, answer]
    falls, moves = [], []
    for cell in range(CELLS):
        changed = image.tokens.clone()
        changed[0, cell] = model.mean_image_token
        after = ask(changed, text.mask)
        falls.append(max((probability - after.logits.softmax(dim=-1)[0, answer]).item(), 0))
        moves.append((after.features.text_tokens - before.features.text_tokens)[0].norm(dim=-1).numpy())
    word_falls = []
    for token in range(text.tokens.shape[1]):
        mask = text.mask.clone()
        mask[0, token] = False
        after = ask(image.tokens, mask).logits.softmax(dim=-1)[0, answer]
        word_falls.append(max((probability - after).item(), 0))
    explanation = EXPLANATION_METHODS["occlusion"](model, text, image, answer)
    np.testing.assert_allclose(explanation.image_map.ravel(), to_one(np.array(falls)), atol=1e-4)
    np.testing.assert_allclose(explanation.token_scores, to_one(np.array(word_falls)), atol=1e-4)
    if np.array(moves).sum() > 1e-4:  # in dual towers the photo moves no token
        np.testing.assert_allclose(explanation.token_to_patch, to_one(np.array(moves).T), atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("fill", ["mean", "blur"])
def test_pixel_occlusion_equals_brute_force(model, fill):
    from torchvision.transforms.functional import gaussian_blur

    text, _ = encoded(model)
    pixels = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    hidden = gaussian_blur(pixels, 13, 2.0) if fill == "blur" else pixels.mean(dim=(1, 2))[:, None, None] + 0 * pixels

    def probability(photo):
        return model(text_tokens=text.tokens, text_mask=text.mask, pixels=photo[None]).logits.softmax(dim=-1)[0, 1]

    falls = np.zeros((4, 4))
    for row in range(4):
        for column in range(4):
            photo = pixels.clone()
            cell = (slice(None), slice(8 * row, 8 * row + 8), slice(8 * column, 8 * column + 8))
            photo[cell] = hidden[cell]
            falls[row, column] = max((probability(pixels) - probability(photo)).item(), 0)
    found = pixel_occlusion(model, text, pixels, 1, fill=fill).numpy()
    np.testing.assert_allclose(found, falls / falls.sum(), atol=1e-3)
    assert pixel_occlusion(model, text, pixels, 1, grid=(2, 8)).shape == (2, 8)
    with pytest.raises(ValueError, match="'black'; allowed: blur, mean"):
        pixel_occlusion(model, text, pixels, 1, fill="black")


@pytest.mark.parametrize("method", [*GRADIENT_METHODS, "occlusion", "random"])
def test_every_answer_has_its_own_map(model, method):
    text, image = encoded(model)
    maps = [EXPLANATION_METHODS[method](model, text, image, answer).image_map for answer in range(len(ANSWERS))]
    for first in range(len(maps)):
        for second in range(first):
            assert not np.allclose(maps[first], maps[second], atol=1e-6)


@pytest.mark.parametrize("method", [*GRADIENT_METHODS, "occlusion"])
@pytest.mark.parametrize("answer", [-1, 6])
def test_an_answer_outside_the_list_is_named(model, method, answer):
    with pytest.raises(ValueError, match=f"answer_index is {answer}; allowed: 0 to 5"):
        EXPLANATION_METHODS[method](model, *encoded(model), answer)


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_frozen_parameters_change_nothing_and_get_no_gradient(model, method):
    text, image = encoded(model)
    free = EXPLANATION_METHODS[method](model, text, image, 1)
    assert all(parameter.grad is None for parameter in model.parameters())
    frozen = EXPLANATION_METHODS[method](model.requires_grad_(False), text, image, 1)
    np.testing.assert_array_equal(free.image_map, frozen.image_map)
    with torch.no_grad():  # as inside the predictor
        inside = EXPLANATION_METHODS[method](model, text, image, 1)
    np.testing.assert_array_equal(free.image_map, inside.image_map)
    assert not text.tokens.requires_grad and not image.tokens.requires_grad


def test_controls_are_repeatable_and_the_center_is_in_the_middle(model):
    text, image = encoded(model)
    random = EXPLANATION_METHODS["random"]
    np.testing.assert_array_equal(random(model, text, image, 0).image_map, random(model, text, image, 0).image_map)
    assert not np.allclose(random(model, text, image, 0).image_map, random(model, *encoded(model, 1), 0).image_map)
    center = EXPLANATION_METHODS["center"](model, text, image, 0).image_map
    np.testing.assert_allclose(center, center[::-1, ::-1], atol=1e-6)
    assert center[1, 1] == center.max() and center[0, 0] == center.min()
    assert (
        tuple(EXPLANATION_METHODS) == METHOD_NAMES
        and set(CONTROLS) < set(METHOD_NAMES)
        and DEFAULT_METHOD not in CONTROLS
    )


def test_memory_does_not_grow_over_200_explanations(model):
    """After a warm-up, no tensor stays behind and the process doesn't grow; 200 of the default fusion, 40 of others."""
    text, image = encoded(model)
    count = 200 if model.config.fusion == ValmConfig().fusion else 40

    def tensors() -> int:
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    def explain(count: int) -> None:
        methods = [*EXPLANATION_METHODS.values()]
        for index in range(count):
            methods[index % len(methods)](model, text, image, index % len(ANSWERS))

    explain(20)
    tracked, before = tensors(), resident_bytes()
    explain(count)
    assert tensors() == tracked
    assert resident_bytes() - before < 8 * 2**20


def resident_bytes() -> int:
    """Memory of this process that lies in RAM, by Linux; 0 elsewhere."""
    path = Path("/proc/self/statm")
    return int(path.read_text().split()[1]) * resource.getpagesize() if path.exists() else 0


@pytest.mark.parametrize("built", [ValmConfig().fusion], indirect=True)
def test_eight_threads_get_the_sequential_explanations(model):
    jobs = [(method, seed, seed % 6) for method in EXPLANATION_METHODS for seed in range(6)]

    def explain(job):
        method, seed, answer = job
        return EXPLANATION_METHODS[method](model, *encoded(model, seed), answer)

    expected = [explain(job) for job in jobs]
    with ThreadPoolExecutor(8) as pool:
        for one, other in zip(expected, pool.map(explain, jobs), strict=True):
            for field in ("image_map", "token_scores", "token_to_patch", "patch_to_token", "text_to_image"):
                np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
