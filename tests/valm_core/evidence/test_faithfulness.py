"""Faithfulness measures: worked by hand, planted truths, and the pixel curve against Quantus' own."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from training.datasets.readers.jsonl import read_rows
from training.measuring import faithfulness as command
from valm_core.checkpoints.storage import save_checkpoint
from valm_core.evidence import faithfulness as measures
from valm_core.evidence.faithfulness import EVIDENCE_FRACTIONS, FRACTIONS, HidingCurve, hiding_curves
from valm_core.evidence.rules import rank_correlation
from valm_core.explanations import EXPLANATION_METHODS
from valm_core.explanations.hiding import FILLS, logits_without_cells, logits_without_pixels

CELLS = 20


def linear_answer(weights: np.ndarray):
    """A model whose first of two answers has the logit: the summed weights of the cells that are seen."""

    def ask(hidden: torch.Tensor) -> torch.Tensor:
        seen = (~hidden).float() @ torch.from_numpy(weights).float()
        return torch.stack([seen, torch.zeros_like(seen)], dim=1)

    return ask


def curve(probability, chosen=None) -> HidingCurve:
    probability = np.asarray(probability, dtype=float)
    return HidingCurve(np.array(FRACTIONS), probability, np.zeros(len(FRACTIONS), int) if chosen is None else chosen)


def test_curves_hide_what_they_should_and_ask_once():
    weights = np.arange(CELLS) / 10.0
    calls = []

    def ask(hidden):
        calls.append(len(hidden))
        return linear_answer(weights)(hidden)

    (most, least), (again, _) = hiding_curves(ask, [weights.reshape(4, 5), weights], 0)
    assert len(calls) == 1 and calls[0] <= 2 * len(FRACTIONS) - 2  # nothing and everything hidden are shared
    np.testing.assert_array_equal(most.probability, again.probability)
    for place, fraction in enumerate(FRACTIONS):
        count = measures.hidden_count(fraction, CELLS)
        for found, left in ((most, weights[: CELLS - count]), (least, weights[count:])):
            assert found.probability[place] == pytest.approx(1 / (1 + np.exp(-left.sum())), abs=1e-5)


def test_hidden_counts():
    assert [measures.hidden_count(fraction, 49) for fraction in (0, 0.01, 0.1, 0.5, 0.99, 1)] == [0, 1, 5, 24, 48, 49]
    assert [measures.hidden_count(fraction, 4) for fraction in (0.01, 0.95)] == [1, 3]


def test_what_the_violation_ratio_hides_is_told_as_it_is():
    hidden = [measures.hidden_count(min(EVIDENCE_FRACTIONS), cells) for cells in (49, 149, 150, 196)]
    assert hidden == [1, 1, 2, 2]
    told = (Path(__file__).parents[3] / "docs" / "reading_maps.md").read_text(encoding="utf-8")
    assert "the violation ratio is how often hiding the hottest 1 % (two of 196 cells)" in told
    assert "two of 196 cells, and one where there are fewer than 150" in (measures.violation.__doc__ or "")


def test_measures_as_worked_by_hand():
    falling = curve(1 - np.array(FRACTIONS))
    assert measures.deletion_auc(falling) == pytest.approx(0.5)
    assert measures.insertion_auc(falling) == pytest.approx(0.5)
    assert measures.comprehensiveness(falling) == pytest.approx(np.mean(EVIDENCE_FRACTIONS))
    assert measures.sufficiency(falling) == pytest.approx(1 - np.mean(EVIDENCE_FRACTIONS))
    assert measures.violation(falling) == 0
    assert measures.violation(curve(np.array(FRACTIONS))) == 1
    # Right until half is hidden: 0 to .5 counts fully, from .5 to .75 it falls in a straight line.
    chosen = np.where(np.array(FRACTIONS) <= 0.5, 3, 1)
    right_until_half = curve(1 - np.array(FRACTIONS), chosen)
    assert measures.perturbation_auc(right_until_half, lambda answer: float(answer == 3)) == pytest.approx(0.625)


def test_the_true_map_wins_every_measure_and_its_reverse_loses():
    generator = np.random.default_rng(0)
    weights = generator.normal(0, 0.8, CELLS)
    weights += 0.1 - weights.mean()
    maps = [weights - weights.min(), generator.random(CELLS), weights.max() - weights]
    curves = hiding_curves(linear_answer(weights), maps, 0)

    def score(answer):
        return float(answer == 0)

    for name, (_, higher, value) in command.METRICS.items():
        true, random, reverse = ((1 if higher else -1) * value(*pair, score) for pair in curves)
        assert true >= random >= reverse and true > reverse, name


def test_a_flat_map_hides_at_random_and_not_row_by_row():
    weights = np.linspace(-1, 1, CELLS)
    curves = [hiding_curves(linear_answer(weights), [np.ones(CELLS)], 0, seed)[0][0] for seed in range(40)]
    means = np.mean([each.probability for each in curves], axis=0)
    np.testing.assert_allclose(means, 0.5, atol=0.12)


def test_rank_correlation_equals_scipys():
    from scipy.stats import spearmanr

    generator = np.random.default_rng(0)
    for _ in range(5):
        first, second = generator.integers(0, 6, 30), generator.normal(size=30)  # with ties
        assert rank_correlation(first, second) == pytest.approx(spearmanr(first, second).statistic)
    assert rank_correlation(np.ones(5), np.arange(5)) == 0


@torch.no_grad()
def test_hidden_cells_are_the_average_token(tiny_model):
    tiny_model.mean_image_token.copy_(torch.randn(16))
    text = tiny_model.encode_question(*tiny_model.tokenizer(["what color is it?"]))
    image = tiny_model.encode_image(torch.rand(1, 3, 32, 32))
    hidden = torch.rand(70, 16) > 0.5  # more than one batch
    found = logits_without_cells(tiny_model, text, image, hidden)
    for row in (0, 69):
        tokens = image.tokens.clone()
        tokens[0, hidden[row]] = tiny_model.mean_image_token
        expected = tiny_model(text_tokens=text.tokens, text_mask=text.mask, image_tokens=tokens).logits[0]
        torch.testing.assert_close(found[row], expected, atol=1e-5, rtol=1e-4)


class PixelsToAnswers(nn.Module):
    """A model under one question, as Quantus wants it: photos -> probabilities."""

    def __init__(self, model, text):
        super().__init__()
        self.model, self.text = model, text

    def forward(self, pixels):
        count = len(pixels)
        output = self.model(
            text_tokens=self.text.tokens.expand(count, -1, -1),
            text_mask=self.text.mask.expand(count, -1),
            pixels=pixels.float(),
        )
        return output.logits.softmax(dim=-1)


@torch.no_grad()
def test_pixel_deletion_equals_quantus_pixel_flipping(tiny_model):
    """One map of 16 cells, hidden one after the other in the photo's mean colour: the same curve, the same area."""
    quantus = pytest.importorskip("quantus")
    text = tiny_model.encode_question(*tiny_model.tokenizer(["what color is it?"]))
    pixels = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    pixels[:, 8:24, 8:24] *= 0.2
    importance = np.random.default_rng(1).permutation(16).astype(np.float32).reshape(4, 4)
    answer, colour = 2, FILLS["mean"](pixels)[:, 0, 0].numpy()

    def flip(arr, indices, **_):  # Quantus hands over flat photos; one channel at a time is the mean colour's own
        changed = arr.copy()
        np.put_along_axis(changed, indices, colour[indices // (32 * 32)].astype(arr.dtype), axis=1)
        return changed

    # All three channels of a cell have one value, so that three steps of 64 features hide one cell.
    attribution = importance.repeat(8, axis=0).repeat(8, axis=1)[None].repeat(3, axis=0)
    metric = quantus.PixelFlipping(
        features_in_step=64, perturb_func=flip, normalise=False, abs=False, disable_warnings=True
    )
    theirs = metric(
        model=PixelsToAnswers(tiny_model, text).eval(),
        x_batch=pixels[None].numpy(),
        y_batch=np.array([answer]),
        a_batch=attribution[None],
        softmax=False,
        device="cpu",
    )[0][2::3]
    order = np.argsort(-importance.ravel())
    rank = np.empty(16, int)
    rank[order] = np.arange(16)
    hidden = torch.from_numpy(rank < np.arange(1, 17)[:, None]).view(16, 4, 4)
    ours = logits_without_pixels(tiny_model, text, pixels, hidden, "mean").softmax(dim=-1)[:, answer]
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-6)

    # And the curve of `hiding_curves` is that curve at our fractions.
    def ask(cells):
        return logits_without_pixels(tiny_model, text, pixels, cells.view(-1, 4, 4), "mean")

    most, _ = hiding_curves(ask, [importance], answer)[0]
    for place, fraction in enumerate(FRACTIONS[1:], 1):
        assert most.probability[place] == pytest.approx(theirs[measures.hidden_count(fraction, 16) - 1], abs=1e-6)


def test_the_command_writes_report_table_and_figure(tiny_model, colored_squares, tmp_path, capsys):
    save_checkpoint(tiny_model, tmp_path / "model")
    report_file = tmp_path / "reports" / "faithfulness.json"
    where = ["--checkpoint", str(tmp_path / "model"), "--data", str(colored_squares), "--report", str(report_file)]
    command.main([*where, "--limit", "4", "--pixel-limit", "2", "--device", "cpu"])
    report = json.loads(report_file.read_text())
    assert report["questions"] == 4 and report["pixel_questions"] == 2
    assert set(report["methods"]) == {*EXPLANATION_METHODS, "pixel_occlusion"}
    for figures in report["methods"].values():
        assert figures["milliseconds"] > 0
        for value in figures["pixels_blur"].values():
            assert value["low"] <= value["mean"] <= value["high"]
    assert "tokens" not in report["methods"]["pixel_occlusion"]
    assert report["rank_correlation"]["random"]["random"] == pytest.approx(1)
    printed = capsys.readouterr().out
    assert command.format_table(report, "tokens") in printed
    assert command.format_table(report, "pixels_mean") in report_file.with_suffix(".md").read_text()
    assert report_file.with_suffix(".png").stat().st_size > 1000


def test_the_same_questions_give_the_same_report(tiny_model, colored_squares):
    rows = read_rows(colored_squares)[:3]
    first, second = command.measure(tiny_model, rows), command.measure(tiny_model, rows)
    for report in (first, second):
        for figures in report["methods"].values():
            figures.pop("milliseconds"), figures.pop("cpu_milliseconds")
    assert first == second


def test_intervals_hold_the_mean():
    assert command.interval([1.0, 1.0]) == {"mean": 1.0, "low": 1.0, "high": 1.0}
    found = command.interval(np.arange(100))
    assert found["low"] < found["mean"] == 49.5 < found["high"]


def test_impossible_wishes_are_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        command.main(["--checkpoint", "x", "--data", "y", "--limit", "0"])
    assert "--limit is 0" in capsys.readouterr().err
