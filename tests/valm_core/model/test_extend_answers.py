"""A longer answer list loses nothing of the old one."""

import pytest
import torch
from toy_data import ANSWERS, inputs_of

from valm_core.checkpoints.storage import load_checkpoint, save_checkpoint
from valm_core.model.model import extend_answers


def test_old_answers_keep_their_places_and_logits(tiny_model, tmp_path):
    before = tiny_model(**inputs_of(tiny_model)).logits
    longer = extend_answers(tiny_model, ["many", "squares"])
    assert longer.answers == [*ANSWERS, "many", "squares"] and tiny_model.answers == ANSWERS
    logits = longer(**inputs_of(longer)).logits
    assert logits.shape[1] == len(ANSWERS) + 2
    # Every weight is equal to the bit, below; the product's last bit depends on the size of the matrix.
    torch.testing.assert_close(logits[:, : len(ANSWERS)], before, atol=1e-6, rtol=0)
    for name, tensor in tiny_model.state_dict().items():
        kept = longer.state_dict()[name]
        assert torch.equal(kept[: len(tensor)] if name.startswith("head.3.") else kept, tensor), name
    save_checkpoint(longer, tmp_path / "longer")
    loaded = load_checkpoint(tmp_path / "longer")
    assert loaded.answers == longer.answers and torch.equal(loaded(**inputs_of(loaded)).logits, logits)


def test_a_new_answer_starts_from_its_nearest_with_the_lowest_bias(tiny_model):
    twin = extend_answers(tiny_model, [f"{answer}?" for answer in ANSWERS[:1]])
    layer = twin.head[-1]
    old = tiny_model.head[-1]
    ids, mask = tiny_model.tokenizer([*ANSWERS, "red?"])
    embedded = tiny_model.text_encoder.embed(ids, mask)
    nearest = (embedded[-1] @ embedded[:-1].T).topk(5).indices
    torch.testing.assert_close(layer.weight[-1], old.weight[nearest].mean(dim=0))
    assert layer.bias[-1] == old.bias.min()


def test_what_is_in_the_list_already_is_refused(tiny_model):
    for answers in (["red"], ["many", "many"]):
        with pytest.raises(ValueError, match="would be in the answer list twice"):
            extend_answers(tiny_model, answers)
    assert extend_answers(tiny_model, []).answers == ANSWERS


def test_learning_and_mode_stay_as_they_were(tiny_model):
    tiny_model.train()
    longer = extend_answers(tiny_model, ["many"])
    assert longer.training and all(part.requires_grad for part in longer.head.parameters())
