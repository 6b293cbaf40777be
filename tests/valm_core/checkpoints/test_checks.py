"""Checkpoints are data: one with a program, a link out, absurd claims or damage is refused, and the error says why."""

import json
import os
import pickle
import shutil
import struct

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from valm_core.checkpoints.storage import load_checkpoint, save_checkpoint
from valm_core.model.build import build_model


@pytest.fixture
def checkpoint(tiny_model, tmp_path):
    """A whole checkpoint, to be spoilt."""
    save_checkpoint(tiny_model, tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.fixture(scope="session")
def whole(tiny_config, tmp_path_factory):
    """A whole checkpoint that stays whole."""
    folder = tmp_path_factory.mktemp("whole") / "checkpoint"
    save_checkpoint(build_model(tiny_config, ["yes", "no", "red"]), folder)
    return folder


def change(path, **values):
    """Change values in a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


class Runs:
    """Unpickled, it would leave a file."""

    def __reduce__(self):
        return os.mkdir, ("unpickled",)


@pytest.mark.parametrize("name", ["optimizer.pkl", "pytorch_model.bin", "text_encoder/pytorch_model.pt", "model.py"])
def test_a_program_in_the_folder_is_refused(checkpoint, name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (checkpoint / name).write_bytes(pickle.dumps(Runs()))
    with pytest.raises(ValueError, match=r"could run code.*delete that file"):
        load_checkpoint(checkpoint)
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_a_pickle_named_safetensors_is_never_unpickled(checkpoint, how, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with (checkpoint / "model.safetensors").open("wb") as file:
        pickle.dump(Runs(), file) if how == "pickle" else torch.save({"a": Runs()}, file)
    with pytest.raises(ValueError, match="no safetensors file"):
        load_checkpoint(checkpoint)
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.parametrize("name", ["answers.json", "model.safetensors", "text_encoder", "notes.txt"])
def test_a_link_out_of_the_folder_is_refused(checkpoint, name, tmp_path):
    outside = tmp_path / "outside"
    if (checkpoint / name).exists():
        (checkpoint / name).rename(outside)
    else:
        outside.write_text("secret")
    (checkpoint / name).symlink_to(outside)
    with pytest.raises(ValueError, match="leads out of its checkpoint"):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize("target", ["circle", "nowhere"])
def test_a_link_that_leads_nowhere_is_refused(checkpoint, target):
    (checkpoint / "circle").symlink_to(target)
    with pytest.raises(ValueError, match=r"circle is a link that leads nowhere"):
        load_checkpoint(checkpoint)


def test_a_weight_without_a_side_is_refused(checkpoint):
    weights = load_file(checkpoint / "model.safetensors")
    save_file(weights | {"text_norm.weight": torch.tensor(1.0)}, checkpoint / "model.safetensors")
    with pytest.raises(ValueError, match=r"width is \d+ there and 0 in the weights"):
        load_checkpoint(checkpoint)


def test_the_links_of_the_hubs_cache_are_followed(checkpoint, tmp_path):
    snapshot, blobs = tmp_path / "models--me--valm" / "snapshots" / "abc", tmp_path / "models--me--valm" / "blobs"
    blobs.mkdir(parents=True)
    shutil.copytree(checkpoint, snapshot)
    (snapshot / "answers.json").rename(blobs / "123")
    (snapshot / "answers.json").symlink_to("../../blobs/123")
    assert load_checkpoint(snapshot).answers == load_checkpoint(checkpoint).answers


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"width": 4096, "heads": 4}, "width is 4096 there and 16 in the weights"),
        ({"layers": 64}, "layers is 64 there and 2 in the weights"),
        ({"layers": 10**9}, "from 1 to 64"),
        ({"feed_forward_ratio": 1e9}, "above 0 to 16"),
        ({"feed_forward_ratio": 16.0}, "need over|has shape"),
        ({"image_size": 10**6}, "from 1 to 1024"),
        ({"max_question_tokens": 10**9}, "4 to 512"),
        ({"temperature": float("nan")}, "a finite number"),
        ({"temperature": float("inf")}, "a finite number"),
        ({"heads": "4"}, "a value of type int"),
        ({"image_encoder": "timm:hf-hub:someone/model"}, "names models alone"),
        ({"image_encoder": "timm:local-dir:/etc"}, "names models alone"),
        ({"image_encoder": "http://127.0.0.1/model"}, "allowed: `package:NAME`"),
        ({"run": "rm -rf"}, "no setting `run`"),
    ],
)
def test_absurd_claims_of_the_config_are_refused(checkpoint, values, reason):
    change(checkpoint / "config.json", **values)
    with pytest.raises(ValueError, match=reason):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize("name", ["text_encoder", "image_encoder"])
def test_absurd_claims_of_an_encoders_config_are_refused(checkpoint, name):
    for values in ({"hidden_size": 10**6}, {"num_hidden_layers": 10**9}, {"hidden_size": 1, "num_hidden_layers": 300}):
        change(checkpoint / name / "config.json", **values)
        with pytest.raises(ValueError, match=r"doesn't fit its config|at most 256|at most 1000000"):
            load_checkpoint(checkpoint)


def test_a_path_in_the_config_is_never_followed(checkpoint, tmp_path):
    change(checkpoint / "config.json", text_encoder="transformers:../../../etc", image_encoder="transformers:/etc")
    load_checkpoint(checkpoint)  # encoders come out of the checkpoint's own folders


def test_code_that_a_config_names_is_not_run(checkpoint, tmp_path):
    module = checkpoint / "text_encoder" / "evil"
    change(checkpoint / "text_encoder" / "config.json", auto_map={"AutoConfig": "evil.Config"}, model_type="evil")
    module.with_suffix(".txt").write_text("raise SystemExit")
    with pytest.raises((ValueError, OSError)):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize("answers", [{}, "yes", [], [1, 2], ["yes", None], ["yes", "yes"], [["yes"]], None])
def test_answers_that_are_no_list_of_texts_are_refused(checkpoint, answers):
    (checkpoint / "answers.json").write_text(json.dumps(answers))
    with pytest.raises(ValueError, match=r"list of texts|empty or has duplicates|doesn't fit"):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(checkpoint, value):
    weights = load_file(checkpoint / "model.safetensors")
    weights["text_norm.weight"][3] = value
    save_file(weights, checkpoint / "model.safetensors")
    with pytest.raises(ValueError, match=r"no numbers \(NaN or infinite\), in text_norm.weight"):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize("left", [0, 7, 8, 100, 5000, -1])
def test_truncated_weights_are_refused(checkpoint, left):
    content = (checkpoint / "model.safetensors").read_bytes()
    (checkpoint / "model.safetensors").write_bytes(content[:left])
    with pytest.raises(ValueError, match="damaged or no safetensors file"):
        load_checkpoint(checkpoint)


def test_a_header_that_claims_a_terabyte_is_refused(checkpoint):
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**38], "data_offsets": [0, 2**40]}}).encode()
    (checkpoint / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(ValueError, match="damaged or no safetensors file"):
        load_checkpoint(checkpoint)
    (checkpoint / "model.safetensors").write_bytes(struct.pack("<Q", 2**62) + header)
    with pytest.raises(ValueError, match="damaged or no safetensors file"):
        load_checkpoint(checkpoint)


def test_a_missing_folder_and_deep_json_say_so(checkpoint):
    with pytest.raises(FileNotFoundError, match=r"no VALM checkpoint: config\.json is missing"):
        load_checkpoint(checkpoint.parent / "nowhere")
    (checkpoint / "config.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="is no JSON"):
        load_checkpoint(checkpoint)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)


def refused_or_loaded(folder) -> None:
    """Loading a folder ends with a model or with an error that says why, never with another kind of error."""
    try:
        load_checkpoint(folder)
    except (ValueError, FileNotFoundError) as error:
        assert len(str(error)) > 20


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_json_in_place_of_the_right_one_is_refused_or_loaded(whole, tmp_path, data):
    folder = tmp_path / "spoilt"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    name = data.draw(st.sampled_from(["config.json", "answers.json", "text_encoder/config.json"]))
    values = json.loads((folder / name).read_text())
    if isinstance(values, dict):
        values[data.draw(st.sampled_from(sorted(values)))] = data.draw(JSON)
    else:
        values = data.draw(JSON)
    (folder / name).write_text(json.dumps(values))
    refused_or_loaded(folder)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bytes_in_the_weights_are_refused_or_loaded(whole, tmp_path, data):
    folder = tmp_path / "spoilt"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    content = bytearray((folder / "model.safetensors").read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, min(len(content), 3000) - 1))
        content[place] = data.draw(st.integers(0, 255))
    (folder / "model.safetensors").write_bytes(content)
    refused_or_loaded(folder)
