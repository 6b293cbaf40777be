"""Checkpoints on the hub: what is uploaded is what is loaded again, by name, with its card; against a stand-in hub."""

import shutil

import pytest
import torch
from fake_hub import COMMIT
from huggingface_hub import ModelCard, constants

from valm_core.checkpoints.hub import fetch_checkpoint, is_hub_name, push_folder
from valm_core.checkpoints.storage import load_checkpoint, push_to_hub, save_checkpoint


def test_a_pushed_model_comes_back_equal(tiny_model, hub):
    address = push_to_hub(tiny_model, "someone/tiny")
    assert address == f"{hub.url}/someone/tiny/commit/{COMMIT}"
    loaded = load_checkpoint("someone/tiny")
    assert loaded.config == tiny_model.config and loaded.answers == tiny_model.answers
    for name, tensor in tiny_model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name
    assert load_checkpoint(f"someone/tiny@{COMMIT}").config == tiny_model.config


def test_a_model_without_a_card_gets_one_and_a_card_is_kept(tiny_model, hub, tmp_path):
    push_to_hub(tiny_model, "someone/tiny")
    card = ModelCard(hub.repositories["someone/tiny"]["README.md"].decode())
    assert card.data.pipeline_tag == "visual-question-answering" and card.data.library_name == "valm"
    assert f"out of {len(tiny_model.answers)} fixed answers" in card.text
    assert "README.md" not in {path.name for path in tmp_path.rglob("*.md") if "hub_cache" not in path.parts}

    save_checkpoint(tiny_model, tmp_path / "own", {"README.md": "---\nlicense: mit\n---\nmine\n"})
    push_folder(tmp_path / "own", "someone/own")
    assert hub.repositories["someone/own"]["README.md"] == b"---\nlicense: mit\n---\nmine\n"


def test_only_what_makes_a_checkpoint_goes_up_and_comes_down(tiny_model, hub, tmp_path):
    save_checkpoint(tiny_model, tmp_path / "model", {"metrics.json": "{}", "notes.txt": "secret", "state.pkl": "x"})
    push_folder(tmp_path / "model", "someone/tiny")
    uploaded = set(hub.repositories["someone/tiny"])
    assert {"config.json", "answers.json", "model.safetensors", "README.md", "metrics.json"} <= uploaded
    assert {"tokenizer/tokenizer.json", "text_encoder/config.json", "image_encoder/config.json"} <= uploaded
    assert not uploaded & {"notes.txt", "state.pkl"}

    hub.repositories["someone/tiny"]["pytorch_model.bin"] = b"a pickle"
    folder = fetch_checkpoint("someone/tiny")
    assert not (folder / "pytorch_model.bin").exists() and "pytorch_model.bin" not in hub.fetched


def test_new_repositories_are_private_and_need_the_token(tiny_model, hub, monkeypatch):
    push_to_hub(tiny_model, "someone/hidden")
    push_to_hub(tiny_model, "someone/shown", private=False)
    assert hub.private == {"someone/hidden"}
    monkeypatch.delenv("HF_TOKEN")
    assert load_checkpoint("someone/shown").answers == tiny_model.answers
    with pytest.raises(FileNotFoundError, match=r"no folder someone/hidden.*needs HF_TOKEN"):
        load_checkpoint("someone/hidden")


def test_pushing_twice_replaces_the_files(tiny_model, hub):
    push_to_hub(tiny_model, "someone/tiny")
    tiny_model.head[-1].bias.data += 1
    push_to_hub(tiny_model, "someone/tiny")
    assert torch.equal(load_checkpoint("someone/tiny").head[-1].bias, tiny_model.head[-1].bias)


def test_what_was_fetched_once_loads_without_the_hub(tiny_model, hub, monkeypatch):
    push_to_hub(tiny_model, "someone/tiny")
    fetch_checkpoint("someone/tiny")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load_checkpoint("someone/tiny").answers == tiny_model.answers
    with pytest.raises(FileNotFoundError, match="hub did not give it"):
        fetch_checkpoint("someone/other")


def test_a_folder_that_is_no_checkpoint_is_not_uploaded(hub, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"answers\.json is missing"):
        push_folder(tmp_path, "someone/broken")
    assert not hub.repositories


def test_paths_into_folders_that_exist_never_mean_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert is_hub_name("someone/tiny") and is_hub_name("someone/tiny@v1.0")
    for local in ("runs/typo", "tiny", "a/b/c", "./tiny", "../tiny", str(tmp_path / "tiny"), "someone/tiny?x=1"):
        assert not is_hub_name(local), local
        assert str(fetch_checkpoint(local)) == local.removeprefix("./")
    shutil.rmtree(tmp_path / "runs")
    assert is_hub_name("runs/typo")
