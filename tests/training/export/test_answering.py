"""Export: the graphs say what the model says, for any batch, length and grid, without torch; faults are named."""

import dataclasses
import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from shared import exported_before, made_once
from turned_photos import write_turned
from without_torch import run_without_torch

from training.export import command
from training.export.check import compare_with_checkpoint
from valm_core.checkpoints.contents import CONFIG_FILE
from valm_core.checkpoints.facts import checkpoint_fingerprint
from valm_core.checkpoints.storage import load_checkpoint, save_checkpoint
from valm_core.exported.files import METADATA_FILE
from valm_core.exported.model import encode_photo, probabilities
from valm_core.exported.predictor import OnnxPredictor
from valm_core.loading import load_predictor
from valm_core.model.build import build_model
from valm_core.outputs import InputError, NotOffered, UnknownAnswer
from valm_core.predictor import VqaPredictor

pytestmark = pytest.mark.skipif(
    not (find_spec("onnxruntime") and find_spec("onnxscript")), reason="pip install -e '.[export]'"
)
ROOT = Path(__file__).parents[3]
QUESTION = "what color is the square?"
AS_SHIPPED = {
    "question_head": True,
    "glimpse_width": 8,
    "similarity": True,
    "product": True,
    "cell_width": 16,
    "concepts": 3,
    "neutral_yes_no": 1.0,
    "photo_detail": 24,
}
WITHOUT_TORCH = """
from valm_core.exported.predictor import OnnxPredictor

predictor = OnnxPredictor.from_checkpoint(sys.argv[1])
image = predictor.encode(sys.argv[2])
question = "what color is the square?"
print(predictor.answer(image, question).answers[0].text)
print(predictor.explain(image, question).image_map.sum(), predictor.evidence(image, question).verdict)
"""


@pytest.fixture(scope="module")
def folders(tiny_config, tmp_path_factory):
    """A tiny checkpoint with all parts of the shipped one, whose average token isn't 0, and its export."""
    from toy_data import ANSWERS

    def make(folder: Path) -> None:
        torch.manual_seed(4)
        config = dataclasses.replace(tiny_config, temperature=1.5, yes_no_temperature=0.5, **AS_SHIPPED)
        model = build_model(config, ANSWERS, concepts=["square", "red", "green"]).eval()
        model.mean_image_token.copy_(torch.randn_like(model.mean_image_token))
        save_checkpoint(model, folder / "checkpoint")
        command.export(folder / "checkpoint", folder / "onnx", "onnx")

    return made_once(tmp_path_factory, "exports", make)


@pytest.fixture(scope="module")
def predictors(folders):
    """The checkpoint's predictor and the export's."""
    return (
        VqaPredictor.from_checkpoint(folders / "checkpoint", device="cpu"),
        load_predictor(folders / "onnx"),
    )


def test_both_kinds_of_answer_have_their_temperature(predictors):
    torch_predictor, exported = predictors
    logits = torch.eye(len(exported.answers))  # each answer is once the likeliest
    for asked in (None, logits[:1], logits[-1:]):  # red, and no
        expected = torch_predictor.model.probabilities(logits, asked)
        found = probabilities(exported.model, logits.numpy(), None if asked is None else asked.numpy())
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5)
    by_answer = probabilities(exported.model, logits.numpy()).max(axis=1)
    assert by_answer[exported.answers.index("yes")] > by_answer[exported.answers.index("red")]


def noise(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8))


@pytest.mark.parametrize("question", [QUESTION, "many?", "is there any red square there " * 2])
def test_answers_blind_answers_and_gate_are_those_of_torch(predictors, question):
    ours, theirs = (predictor.answer(predictor.encode(noise()), question, top=6) for predictor in predictors)
    assert theirs.question == ours.question and theirs.gate == pytest.approx(ours.gate, abs=1e-5)
    for first, second in ((ours.answers, theirs.answers), (ours.blind_answers, theirs.blind_answers)):
        assert [answer.text for answer in first] == [answer.text for answer in second]
        assert [a.probability for a in first] == pytest.approx([a.probability for a in second], abs=1e-5)


@pytest.mark.parametrize("method", ["raw_attention", "attention_rollout"])
def test_every_map_is_that_of_torch(predictors, method):
    ours, theirs = (predictor.explain(predictor.encode(noise()), QUESTION, method) for predictor in predictors)
    assert theirs.tokens == ours.tokens and theirs.grid == ours.grid and theirs.method == method
    for name in ("image_map", "token_scores", "token_to_patch", "patch_to_token", "text_to_image", "image_to_text"):
        np.testing.assert_allclose(getattr(theirs, name), getattr(ours, name), atol=1e-5, err_msg=name)


def test_evidence_hides_the_same_share_and_reads_the_same_effect(predictors):
    ours, theirs = predictors
    image = theirs.encode(noise())
    found = theirs.evidence(image, QUESTION, answer="red")
    same = ours.encode(noise())
    np.testing.assert_allclose(image.tokens, same.tokens.numpy(), atol=1e-5)
    expected = ours.evidence(same, QUESTION, "raw_attention", "red")
    assert found.probability == pytest.approx(expected.probability, abs=1e-5)
    assert found.hidden_shares == expected.hidden_shares and found.random_draws == expected.random_draws
    assert found.hottest_hidden == pytest.approx(expected.hottest_hidden, abs=1e-5)
    assert found.random_hidden == pytest.approx(expected.random_hidden, abs=1e-5)  # the same cells, drawn at random
    assert found.support == pytest.approx(expected.support, abs=1e-3) and found.verdict == expected.verdict
    assert found.blind_answer.text == expected.blind_answer.text and found.evenness == pytest.approx(expected.evenness)


def test_turned_photos_are_read_upright(predictors, tmp_path):
    predictor = predictors[1]
    upright, turned = write_turned(tmp_path)
    wanted = predictor.encode(upright)
    wanted_map = predictor.explain(wanted, QUESTION).image_map
    for path in turned[::5]:
        for photo in (path, predictor.open_photo(path)):
            encoded = predictor.encode(photo)
            assert np.array_equal(encoded.tokens, wanted.tokens)
            assert np.array_equal(predictor.explain(encoded, QUESTION).image_map, wanted_map)


def test_photos_are_reduced_as_the_config_says(predictors):
    torch_predictor, exported = predictors
    photo = Image.effect_noise((200, 200), 90).convert("RGB")
    reduced = torch_predictor.encode(photo).tokens.numpy()
    np.testing.assert_allclose(exported.encode(photo).tokens, reduced, atol=2e-4)
    config = exported.model.metadata["config"] | {"photo_detail": 0}
    plain = dataclasses.replace(exported.model, metadata=exported.model.metadata | {"config": config})
    assert np.abs(encode_photo(plain, photo).tokens - reduced).max() > 0.01


def test_a_graph_takes_padded_batches_of_any_size(folders, predictors):
    model, graphs = predictors[0].model, predictors[1].model.graphs
    ids, mask = model.tokenizer([QUESTION, "any red?", "is there"])
    (tokens,) = graphs["text_encoder"]({"token_ids": ids.numpy(), "text_mask": mask.numpy()}, ["text_tokens"])
    photos = torch.rand(3, 3, 32, 32)
    (image,) = graphs["image_encoder"]({"pixels": photos.numpy()}, ["image_tokens"])
    inputs = {"text_tokens": tokens, "text_mask": mask.numpy(), "image_tokens": image.reshape(3, 4, 4, -1)}
    (logits,) = graphs["fusion"](inputs, ["logits"])
    with torch.no_grad():
        expected = model(token_ids=ids, text_mask=mask, pixels=photos).logits
    np.testing.assert_allclose(logits, expected.numpy(), atol=1e-5)


def test_it_runs_where_torch_and_transformers_cannot_be_imported(folders, tmp_path):
    noise().save(tmp_path / "photo.png")
    printed = run_without_torch(WITHOUT_TORCH, folders / "onnx", tmp_path / "photo.png")
    assert printed.split()[0] in ("red", "green", "blue", "yellow", "yes", "no")


def test_what_an_export_cannot_do_is_said(folders, predictors):
    theirs = predictors[1]
    image = theirs.encode(noise())
    with pytest.raises(ValueError, match=r"'grad_cam'; allowed: raw_attention.*gradients"):
        theirs.explain(image, QUESTION, "grad_cam")
    with pytest.raises(UnknownAnswer, match="'purple'"):
        theirs.evidence(image, QUESTION, answer="purple")
    with pytest.raises(InputError, match="word pieces"):
        theirs.answer(image, "what " * 40)
    assert theirs.offers == {"word_evidence"} and theirs.attention_heads == ()
    with pytest.raises(NotOffered, match=r"exported model.*checkpoint"):
        theirs.what_if(image, QUESTION, hidden_words=[0])
    with pytest.raises(NotOffered, match=r"exported model.*checkpoint"):
        theirs.counterfactual(image, QUESTION)
    with pytest.raises(ValueError, match=r"device is 'cuda', but exported models run on the CPU"):
        load_predictor(folders / "onnx", device="cuda")
    with pytest.raises(FileNotFoundError, match=r"metadata\.json is missing.*training\.export"):
        OnnxPredictor.from_checkpoint(folders / "checkpoint")


def test_an_export_is_recognised_by_its_own_file(folders, predictors, tmp_path):
    ours, theirs = load_predictor(folders / "checkpoint", device="cpu"), predictors[1]
    assert isinstance(ours, VqaPredictor) and isinstance(theirs, OnnxPredictor)
    assert theirs.facts == {name: ours.facts[name] for name in ours.facts if name != "checkpoint"} | {"format": "onnx"}
    for setting in ({"prompt": "{image} {question}"}, {"calibration": "none.json"}):  # of open models
        for kind in ("checkpoint", "onnx"):
            with pytest.raises(ValueError, match="is a checkpoint of VALM, which is asked as it is"):
                load_predictor(folders / kind, "cpu", **setting)
    shutil.copytree(folders / "onnx", tmp_path / "copy")
    metadata = json.loads((tmp_path / "copy" / METADATA_FILE).read_text(encoding="utf-8"))
    (tmp_path / "copy" / METADATA_FILE).write_text(json.dumps(metadata | {"format": "tensorrt"}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"format 'tensorrt'.*allowed: onnx, openvino"):
        load_predictor(tmp_path / "copy")
    del metadata["config"]
    for content, message in (
        ("[]", "is no JSON object"),
        ("[" * 100_000, "nested"),
        (json.dumps(metadata), "lacks config"),
    ):
        (tmp_path / "copy" / METADATA_FILE).write_text(content, encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            load_predictor(tmp_path / "copy")


def test_ask_is_answer_explanation_and_evidence(predictors):
    theirs = predictors[1]
    image = theirs.encode(noise())
    prediction, explanation, evidence = theirs.ask(image, QUESTION)
    assert prediction == theirs.answer(image, QUESTION) == theirs.answer_many([image], [QUESTION])[0]
    assert np.array_equal(explanation.image_map, theirs.explain(image, QUESTION).image_map)
    assert evidence == theirs.evidence(image, QUESTION)
    assert theirs.masks(theirs.answers) and not theirs.masks(["no such answer"])


def test_typed_control_tokens_are_the_same_words_to_both(predictors):
    ours, theirs = predictors
    special = ours.model.tokenizer.tokenizer
    for token in ("[SEP]", "[MASK]", "[PAD]", "[CLS]"):
        question = f"what {token} is the color?"
        ids = theirs.model.tokenizer.encode(question).ids
        assert ids == ours.model.tokenizer([question])[0][0].tolist()
        assert special.convert_tokens_to_ids(token) not in ids[1:-1]
    image = theirs.encode(Image.new("RGB", (32, 32), "red"))
    assert theirs.explain(image, "what [SEP]is this?").tokens == ("what", "[SEP]is", "this?")
    assert theirs.explain(image, QUESTION, answer="Ｒｅｄ").tokens == tuple(QUESTION.split())


def test_a_changed_or_missing_file_is_named(folders, tmp_path):
    import shutil

    shutil.copytree(folders / "onnx", tmp_path / "copy")
    metadata = json.loads((tmp_path / "copy" / METADATA_FILE).read_text())
    assert set(metadata["sha256"]) == {path.name for path in (tmp_path / "copy").iterdir()} - {METADATA_FILE}
    (tmp_path / "copy" / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer\.json has sha256"):
        OnnxPredictor.from_checkpoint(tmp_path / "copy")
    (tmp_path / "copy" / "tokenizer.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks tokenizer\.json"):
        OnnxPredictor.from_checkpoint(tmp_path / "copy")


def test_int8_and_openvino_by_the_command(folders, colored_squares, tmp_path, monkeypatch):
    """One run through both: quantized graphs turned into OpenVINO's form, compared with the checkpoint."""
    pytest.importorskip("openvino")
    graphs = exported_before(folders / "onnx", "image_encoder", "text_encoder", "fusion")
    monkeypatch.setattr(command, "write_onnx_graphs", graphs)
    report = tmp_path / "report.json"
    arguments = ["--checkpoint", str(folders / "checkpoint"), "--output", str(tmp_path / "export")]
    arguments += ["--format", "openvino", "--int8", "--data", str(colored_squares), "--report", str(report)]
    command.main(arguments)
    found = json.loads(report.read_text())
    assert found["questions"] == 8 and found["format"] == "openvino" and found["int8"]
    assert found["greatest_difference"]["image_tokens"] < 1e-4  # the image encoder isn't quantized
    assert 1e-6 < found["greatest_difference"]["probabilities"] < 0.05
    names = {path.name for path in (tmp_path / "export").iterdir()}
    assert {"fusion.xml", "fusion.bin", METADATA_FILE} <= names and not any(name.endswith(".onnx") for name in names)


def test_openvino_freed_in_another_thread_leaves_signals_working(folders):
    """OpenVINO's CPU plugin takes the main thread's signal stack along when it goes, see ``openvino_core``."""
    pytest.importorskip("openvino")
    code = """
import gc, os, signal, sys, threading
from pathlib import Path
from valm_core.exported.runtimes import load_openvino

held = [load_openvino(Path(sys.argv[1]), 1)]
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
thread = threading.Thread(target=lambda: (held.clear(), gc.collect()))
thread.start(), thread.join()
os.kill(os.getpid(), signal.SIGUSR1)
"""
    command = [sys.executable, "-X", "faulthandler", "-c", code, str(folders / "onnx" / "fusion.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout.strip()) == (0, "handled")


def moved(folders, tmp_path):
    """Checkpoint and export, side by side as they were, to be changed."""
    import shutil

    for name in ("checkpoint", "onnx"):
        shutil.copytree(folders / name, tmp_path / name)
    return tmp_path / "checkpoint", tmp_path / "onnx"


def refused(folder) -> str:
    """The line that an export's files are refused with."""
    with pytest.raises(ValueError) as told:
        OnnxPredictor.from_checkpoint(folder)
    assert "\n" not in str(told.value)
    return str(told.value)


def test_an_export_beside_a_retrained_checkpoint_is_refused(folders, tmp_path):

    checkpoint, export = moved(folders, tmp_path)
    metadata = json.loads((export / METADATA_FILE).read_text())
    assert metadata["checkpoint"] == "../checkpoint" and len(metadata["answers_sha256"]) == 64
    OnnxPredictor.from_checkpoint(export)
    model = load_checkpoint(checkpoint)
    model.head[-1].bias.data += 1
    save_checkpoint(model, checkpoint)
    told = refused(export)
    assert metadata["checkpoint_sha256"][:12] in told and "trained again since. Export it again" in told
    with pytest.raises(ValueError, match="trained again since"):
        compare_with_checkpoint(checkpoint, export, "onnx", [])
    (tmp_path / "kept").mkdir()
    export.rename(tmp_path / "kept" / "onnx")  # elsewhere the former model goes on
    OnnxPredictor.from_checkpoint(tmp_path / "kept" / "onnx")
    with pytest.raises(ValueError, match=r"they don't compare\. Export that checkpoint"):
        compare_with_checkpoint(checkpoint, tmp_path / "kept" / "onnx", "onnx", [])


def test_an_export_beside_a_checkpoint_with_other_settings_is_refused(folders, tmp_path):
    checkpoint, export = moved(folders, tmp_path)
    ours, theirs = VqaPredictor.from_checkpoint(checkpoint).facts, OnnxPredictor.from_checkpoint(export).facts
    assert ours["model_fingerprint"] == theirs["model_fingerprint"] == checkpoint_fingerprint(checkpoint)
    config = json.loads((checkpoint / CONFIG_FILE).read_text())
    (checkpoint / CONFIG_FILE).write_text(json.dumps(config | {"photo_detail": 16, "temperature": 2.0}))
    assert checkpoint_fingerprint(checkpoint) != ours["model_fingerprint"]
    told = refused(export)
    assert "had another photo_detail (was 24, is 16), temperature (was 1.5, is 2.0). Export it again" in told


def test_answers_and_settings_of_another_model_are_refused(folders, tmp_path):
    _, export = moved(folders, tmp_path)
    whole = (export / METADATA_FILE).read_text()
    metadata = json.loads(whole)
    (export / METADATA_FILE).write_text(json.dumps(metadata | {"answers": metadata["answers"][::-1]}))
    assert "holds the answers of another model than its graphs" in refused(export)
    (export / METADATA_FILE).write_text(json.dumps(metadata | {"temperature": 9.0}))
    assert "isn't the one that was written with its graphs" in refused(export)
    (export / METADATA_FILE).write_text(json.dumps(metadata | {"resize": "crop"}))
    assert "shows its model 'crop' photos, which is gone" in refused(export)
    (export / METADATA_FILE).write_text(whole)
    OnnxPredictor.from_checkpoint(export)


def test_an_export_far_from_its_checkpoint_does_not_say_where_that_lies(tmp_path):
    assert command.nearby(tmp_path / "a" / "checkpoint", tmp_path / "b" / "export") == "../../a/checkpoint"
    assert command.nearby(tmp_path / "a", tmp_path / "b" / "c" / "export") == ""
