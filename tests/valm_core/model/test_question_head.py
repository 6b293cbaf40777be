"""The question head and the glimpses beside it: what each learns and leaves alone, and how a checkpoint holds them."""

import dataclasses
import json

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from toy_data import ANSWERS, write_rows

from training.datasets.questions import QuestionDataset
from training.datasets.readers.jsonl import Row
from training.export.answering import FusionGraph
from training.train import main as train
from valm_core.checkpoints.storage import load_checkpoint, save_checkpoint
from valm_core.config import ValmConfig
from valm_core.learning.fine_tuning import parse_fine_tuning, prepare_fine_tuning
from valm_core.learning.losses import AnswerObjective
from valm_core.model.build import build_model
from valm_core.model.heads import Glimpses, QuestionHead
from valm_core.model.model import ValmModel, extend_answers

QUESTIONS = ["what color is the square?", "is there any red?"]


@pytest.fixture(params=[0, 12], ids=["no glimpses", "glimpses"])
def model(request, tiny_config) -> ValmModel:
    """A tiny model with a question head, without and with glimpses."""
    torch.manual_seed(3)
    config = dataclasses.replace(tiny_config, question_head=True, glimpse_width=request.param)
    return build_model(config, ANSWERS).eval()


def asked(model: ValmModel) -> dict:
    ids, mask = model.tokenizer(QUESTIONS)
    return {"token_ids": ids, "text_mask": mask}


def seen(model: ValmModel) -> dict:
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return asked(model) | {"pixels": pixels, "photo_index": torch.arange(2)}


def moved(model: ValmModel, inputs: dict, mode: str) -> set[str]:
    """Names of the state that one step of training under ``mode`` changes."""
    prepare_fine_tuning(model, parse_fine_tuning(mode))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    AnswerObjective(model).train()(torch.eye(len(model.answers))[:2], **inputs).total.backward()
    optimizer.step()
    model.eval()
    return {name for name, tensor in model.state_dict().items() if not tensor.equal(before[name])}


def test_padding_changes_nothing_and_only_balanced_rows_are_told_apart():
    torch.manual_seed(0)
    head = QuestionHead(8, 5).eval()
    torch.nn.init.normal_(head.balanced)
    tokens, mask = torch.randn(2, 3, 8), torch.tensor([[True] * 3, [True, True, False]])
    plain = head(tokens, mask)
    torch.testing.assert_close(head(tokens[1:, :2], mask[1:, :2]), plain[1:])
    told = head(tokens, mask, torch.tensor([True, False]))
    assert not torch.allclose(told[0], plain[0], atol=1e-3)
    torch.testing.assert_close(told[1], plain[1])


def test_a_fresh_model_says_what_the_question_head_says(model):
    with torch.no_grad():
        alone = model.question_logits(**asked(model))
        assert alone.std() > 0.01
        assert torch.equal(model(**seen(model)).logits, alone)
        assert torch.equal(model(**asked(model)).logits, alone)  # blind


def test_the_photo_adds_to_it_and_the_exported_graph_agrees(model):
    torch.nn.init.normal_(model.head[-1].weight)
    with torch.no_grad():
        output = model(**seen(model))
        assert output.features.attention == ()
        torch.testing.assert_close(model(**seen(model), return_attention=True).logits, output.logits)
        if model.glimpses is None:
            added = model.head(output.features.fused)
            torch.testing.assert_close(output.logits, added + model.question_logits(**asked(model)))
        tokens = model.encode_question(**{"token_ids": asked(model)["token_ids"], "mask": asked(model)["text_mask"]})
        image = model.encode_image(seen(model)["pixels"])
        cells = image.tokens.unflatten(1, image.grid)
        torch.testing.assert_close(FusionGraph(model)(tokens.tokens, tokens.mask, cells)[0], output.logits)


def test_question_mode_moves_the_head_and_the_last_layers_alone(model):
    names = moved(model, asked(model), "question:1")
    assert {name.split(".")[0] for name in names} == {"question_head", "text_encoder"}
    assert {name for name in names if "text_encoder" in name} and all(
        name.startswith(("question_head.", "text_encoder.backbone.encoder.layer.1.")) for name in names
    )
    assert model.config.learned_text_layers == 1


def test_photo_mode_leaves_the_question_head_as_it_is(model):
    torch.nn.init.normal_(model.head[-1].weight)
    names = moved(model, seen(model), "photo")
    assert not {name for name in names if name.startswith(("question_head.", "text_encoder.", "image_encoder."))}
    assert {"head.3.weight", "fusion.text_pooling.score.0.weight"} <= names
    assert model.glimpses is None or {"glimpses.cell.2.weight", "glimpses.question.1.weight"} <= names


def test_what_is_frozen_has_no_dropout_in_training(model):
    model.question_head.dropout.p = 0.5
    prepare_fine_tuning(model, parse_fine_tuning("photo"))
    model.train()
    assert model.fusion.training and not model.question_head.dropout.training
    model.question_head.requires_grad_(True)
    assert model.train().question_head.dropout.training


def test_a_glimpse_is_the_mean_of_cells_under_its_map():
    torch.manual_seed(0)
    glimpses = Glimpses(question=6, cell=5, fused=3, heads=2, width=4).eval()
    read = []
    glimpses.norm.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    question, cells, fused = torch.randn(1, 6), torch.randn(1, 3, 5), torch.randn(1, 3)
    maps = torch.tensor([[[[1.0, 0, 0], [0, 1, 0]], [[0, 0, 1], [0, 0, 1]]]])  # [1, heads, words, cells]
    with torch.no_grad():
        gathered = glimpses.gather(question, glimpses.features(cells), maps, torch.tensor([[0.25, 0.75]]), fused)
        assert gathered.shape == (1, glimpses.width)
        asked_for, features = glimpses.question(question)[0], glimpses.cell(cells)[0]
    first, second = 0.25 * features[0] + 0.75 * features[1], features[2]
    expected = torch.cat([asked_for, asked_for * first, asked_for * second, first + second, fused[0]])
    torch.testing.assert_close(read[0][0], expected)


def test_a_silent_head_has_no_glimpse(tiny_config):
    torch.manual_seed(3)
    model = build_model(dataclasses.replace(tiny_config, question_head=True, glimpse_width=12), ANSWERS).eval()
    maps = []
    gather = model.glimpses.gather
    model.glimpses.gather = lambda asked, cells, looked, *rest: (
        maps.append(looked) or gather(asked, cells, looked, *rest)
    )
    with torch.no_grad():
        model(**seen(model), masked_heads=[("text_to_image", 1, 0), ("text_to_image", 0, 1)])
    assert not maps[0][:, 0].any()  # of the last layer
    torch.testing.assert_close(maps[0][:, 1].sum(dim=-1), torch.ones(2, maps[0].shape[2]))


def test_glimpses_move_with_the_map_that_is_shown(tiny_config):
    """With nothing else left of the last layer's reading, an answer still depends on its map."""
    torch.manual_seed(3)
    model = build_model(dataclasses.replace(tiny_config, question_head=True, glimpse_width=12), ANSWERS).eval()
    torch.nn.init.normal_(model.head[-1].weight)
    torch.nn.init.zeros_(model.fusion.layers[-1].text_to_image.output.weight)
    output = model(**seen(model), return_attention=True)
    last = [step.weights for step in output.features.attention if (step.query, step.key) == ("text", "image")][-1]
    whole = torch.autograd.grad(output.logits[0, 0], last)[0]
    assert whole[0].abs().sum() > 0 and not whole[1].any()


def test_glimpses_need_a_question_head_and_bi_attention():
    for wrong in ({}, {"question_head": True, "fusion": "dual_tower"}):
        with pytest.raises(ValueError, match="glimpse_width is 8"):
            ValmConfig(glimpse_width=8, **wrong)


def test_question_mode_needs_a_question_head_and_photo_mode_does_not(tiny_model):
    with pytest.raises(ValueError, match="has no question head"):
        prepare_fine_tuning(tiny_model, parse_fine_tuning("question:1"))
    learning = {name for name, parameter in tiny_model.named_parameters() if parameter.requires_grad}
    prepare_fine_tuning(tiny_model, parse_fine_tuning("photo"))  # the same as frozen
    assert {name for name, parameter in tiny_model.named_parameters() if parameter.requires_grad} == learning


def test_new_answers_leave_the_old_logits_alone(model):
    torch.nn.init.normal_(model.head[-1].weight)
    with torch.no_grad():
        longer = extend_answers(model, ["purple"])
        torch.testing.assert_close(longer(**seen(model)).logits[:, :-1], model(**seen(model)).logits)
        assert longer.question_logits(**asked(model)).shape == (2, len(ANSWERS) + 1)


@pytest.fixture(scope="module")
def packaged(tmp_path_factory):
    """A model on the packaged text encoder whose last layer has moved, and its checkpoint."""
    config = ValmConfig(image_size=64, width=16, layers=1, heads=2, question_head=True)
    model = build_model(dataclasses.replace(config, learned_text_layers=1), ANSWERS).eval()
    with torch.no_grad():
        for parameter in model.text_encoder.backbone.encoder.layer[-1].parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    folder = tmp_path_factory.mktemp("packaged") / "checkpoint"
    save_checkpoint(model, folder)
    return model, folder


def test_a_checkpoint_holds_the_learned_layers_and_no_others(packaged):
    model, folder = packaged
    held = [name for name in load_file(folder / "model.safetensors") if name.startswith("text_encoder.")]
    assert held and all(name.startswith("text_encoder.backbone.encoder.layer.5.") for name in held)
    loaded = load_checkpoint(folder)
    with torch.no_grad():
        assert torch.equal(loaded.question_logits(**asked(loaded)), model.question_logits(**asked(model)))


def test_texts_are_compared_by_the_encoder_as_it_came(packaged):
    model, _ = packaged
    fresh = build_model(dataclasses.replace(model.config, learned_text_layers=0), ANSWERS).eval()
    torch.testing.assert_close(model.embed_texts(["a dog", "red"]), fresh.embed_texts(["a dog", "red"]))
    assert not any("pretrained" in name for name in model.state_dict())


def test_a_missing_layer_is_an_error(packaged, tmp_path):
    _, folder = packaged
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    state = load_file(folder / "model.safetensors")
    gone = next(name for name in state if "layer.5." in name)
    save_file({name: tensor for name, tensor in state.items() if name != gone}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=f"{gone} is missing"):
        load_checkpoint(tmp_path)
    config = json.loads((folder / "config.json").read_text()) | {"learned_text_layers": 7}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="learned_text_layers is 7; allowed: 0 to 6"):
        load_checkpoint(tmp_path)


def test_layers_and_the_whole_encoder_exclude_each_other():
    with pytest.raises(ValueError, match="learned_text_layers is 2"):
        ValmConfig(learned_text_layers=2, train_text_encoder=True)


def test_balanced_rows_are_marked_in_training_batches(model, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    rows = [Row(tmp_path / "a.png", "is there any red?", ("yes",), source=source) for source in ("pairs", "people")]
    assert QuestionDataset(rows, model, balanced="pairs").collate([0, 1])["balanced"].tolist() == [True, False]
    assert "balanced" not in QuestionDataset(rows, model).collate([0, 1])


def test_both_stages_by_the_command(config_file, colored_squares, tmp_path, capsys):
    """The first stage learns what a question expects, the second leaves that as it is and adds to it."""
    questions = write_rows(
        tmp_path / "questions.jsonl", [{"question": "what color is the square?", "answer": "red", "source": "text"}] * 8
    )
    first = [f"--data={questions}", f"--output={tmp_path / 'prior'}", "blind=true", "question_head=true"]
    rehearsal = [f"rehearsal={colored_squares}", "balanced=red", f"answer_data={colored_squares}"]
    train(["--config", str(config_file), *first, *rehearsal, "fine_tuning=question:1", "epochs=2"])
    prior = load_checkpoint(tmp_path / "prior" / "checkpoint")
    with torch.no_grad():
        likeliest = prior.question_logits(**asked(prior)).argmax(dim=-1)
    assert prior.answers[likeliest[0]] == "red"  # by number
    second = [f"init={tmp_path / 'prior' / 'checkpoint'}", f"--output={tmp_path / 'seeing'}", "fine_tuning=photo"]
    second += ["balanced=red", "epochs=3", "layers=1", "glimpse_width=8"]
    with pytest.raises(SystemExit):  # another shape than the first stage's
        train(["--config", str(config_file), *second])
    assert "glimpse_width is 8, but the checkpoint" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        train(["--config", str(config_file), *second[1:], "question_head=true", "init_part=question"])
    assert "nothing to start from" in capsys.readouterr().err
    train(["--config", str(config_file), *second, "init_part=question"])
    seeing = load_checkpoint(tmp_path / "seeing" / "checkpoint")
    assert (seeing.config.learned_text_layers, seeing.config.layers, seeing.config.glimpse_width) == (1, 1, 8)
    assert seeing.answers == prior.answers
    assert not torch.equal(seeing.head[-1].weight, prior.head[-1].weight)  # the photo adds something now
    for name, tensor in prior.question_head.state_dict().items():
        assert torch.equal(tensor, seeing.question_head.state_dict()[name]), name
