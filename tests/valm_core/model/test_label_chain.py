"""The chain of labels against all sequences written out: best, total and marginals, and none that isn't allowed."""

import itertools
from collections.abc import Sequence

import pytest
import torch

from valm_core.model.tasks.label_chain import LabelChain
from valm_core.model.tasks.span_labels import bio_labels, mended, spans_of, transitions_of, type_of

LABELS = bio_labels(("LOC", "PER"))
WORDS = 4


@pytest.fixture(scope="module")
def chain() -> LabelChain:
    torch.manual_seed(3)
    chain = LabelChain(torch.from_numpy(transitions_of(LABELS)))
    torch.nn.init.normal_(chain.steps, std=2.0)
    return chain


def is_valid(labels: Sequence[int]) -> bool:
    names = tuple(LABELS[label] for label in labels)
    return mended(names) == names


def all_valid(length: int) -> list[tuple[int, ...]]:
    every = itertools.product(range(len(LABELS)), repeat=length)
    return list(filter(is_valid, every))


def written_out(chain: LabelChain, logits: torch.Tensor, labels: tuple[int, ...]) -> float:
    steps = chain.steps.detach()
    score = float(steps[-1, labels[0]] + logits[0, labels[0]])
    for place in range(1, len(labels)):
        score += float(steps[labels[place - 1], labels[place]] + logits[place, labels[place]])
    return score


@pytest.mark.parametrize("length", [1, 2, WORDS])
def test_best_total_and_marginals_equal_those_of_all_sequences_written_out(chain, length):
    torch.manual_seed(length)
    logits = 2 * torch.randn(3, WORDS, len(LABELS))
    mask = torch.arange(WORDS)[None].expand(3, -1) < length
    for row in range(3):
        scores = {labels: written_out(chain, logits[row], labels) for labels in all_valid(length)}
        best = max(scores, key=scores.get)
        assert chain.best(logits, mask)[row, :length].tolist() == list(best)
        total = torch.tensor(list(scores.values())).logsumexp(0)
        assert chain.total(logits, mask)[row].item() == pytest.approx(total.item(), abs=1e-3)
        padded = torch.tensor([[*best, *[0] * (WORDS - length)]]).expand(3, -1)
        likely = chain.log_likelihood(logits, padded, mask)[row].item()
        assert likely == pytest.approx(scores[best] - total.item(), abs=1e-3)
        for place in range(length):
            for label in range(len(LABELS)):
                own = [score for labels, score in scores.items() if labels[place] == label]
                share = torch.tensor(own).logsumexp(0).sub(total).exp().item() if own else 0.0
                assert chain.marginals(logits, mask)[row, place, label].item() == pytest.approx(share, abs=1e-4)


def test_no_logits_however_extreme_give_an_invalid_sequence(chain):
    torch.manual_seed(0)
    logits = 200 * torch.randn(200, 9, len(LABELS))
    logits[:100, :, [LABELS.index("I-LOC"), LABELS.index("I-PER")]] += 500  # they all want to go on with a span
    found = chain.best(logits, torch.ones(200, 9, dtype=torch.bool))
    assert all(map(is_valid, found.tolist()))
    assert (found == LABELS.index("I-PER")).any() and (found == LABELS.index("I-LOC")).any()


def test_a_sequence_that_is_not_allowed_has_no_probability(chain):
    logits, mask = torch.zeros(1, 2, len(LABELS)), torch.ones(1, 2, dtype=torch.bool)
    for wrong in (("O", "I-LOC"), ("B-PER", "I-LOC"), ("I-PER", "I-PER")):
        labels = torch.tensor([[LABELS.index(label) for label in wrong]])
        assert chain.log_likelihood(logits, labels, mask).exp().item() == 0.0


def test_labels_become_spans_and_a_lone_i_begins_one():
    labels = ["B-PER", "I-PER", "O", "I-LOC", "B-LOC", "I-PER"]
    assert mended(labels) == ("B-PER", "I-PER", "O", "B-LOC", "B-LOC", "B-PER")
    assert spans_of(labels) == [(0, 2, "PER"), (3, 4, "LOC"), (4, 5, "LOC"), (5, 6, "PER")]
    assert mended(mended(labels)) == mended(labels)


@pytest.mark.parametrize("label", ["PER", "I-", "b-PER", "B_PER", ""])
def test_a_label_of_another_form_is_refused(label):
    with pytest.raises(ValueError, match="isn't of the form"):
        type_of(label)
