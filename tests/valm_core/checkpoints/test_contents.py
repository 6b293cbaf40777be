"""One list of a checkpoint's files: what is saved is what is checked, pushed and fetched; mixtures are refused."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from fake_hub import serving_hub
from huggingface_hub import constants

from valm_core.checkpoints import contents
from valm_core.checkpoints.contents import (
    CHECKPOINT_FILES,
    FAMILIARITY_FILE,
    FINGERPRINTS_FILE,
    METRICS_FILE,
    REQUIRED_FILES,
    check_fingerprints,
    files_of_checkpoint,
    write_fingerprints,
)
from valm_core.checkpoints.hub import fetch_checkpoint, push_folder
from valm_core.checkpoints.storage import load_checkpoint, save_checkpoint
from valm_core.familiarity import Subspace, save_familiarity
from valm_core.model.build import build_model
from valm_core.predictor import VqaPredictor

ROOT = Path(__file__).parents[3]


def add_familiarity(folder: Path, limit: float = 0.5) -> None:
    """What ``training.familiarity`` adds to a checkpoint."""
    subspace = Subspace(np.zeros(3, np.float32), np.eye(3, dtype=np.float32)[:1], limit)
    save_familiarity({"photo": subspace, "question": subspace}, folder / FAMILIARITY_FILE)
    write_fingerprints(folder)


@pytest.fixture(scope="module")
def kept(tiny_config, tmp_path_factory) -> Path:
    """A checkpoint with every file that one can have."""
    folder = tmp_path_factory.mktemp("kept") / "checkpoint"
    config = dataclasses.replace(tiny_config, concepts=2)
    model = build_model(config, ["yes", "no", "red"], concepts=["dog", "red"])
    save_checkpoint(model, folder, {"README.md": "card", "metrics.json": "{}"})
    add_familiarity(folder)
    return folder


@pytest.fixture
def whole(kept, tmp_path) -> Path:
    return Path(shutil.copytree(kept, tmp_path / "whole"))


@pytest.fixture
def other(tiny_config, tmp_path) -> Path:
    """A checkpoint of the same shape with another order of answers, other figures and another temperature."""
    folder = tmp_path / "other"
    model = build_model(dataclasses.replace(tiny_config, concepts=2), ["red", "yes", "no"], concepts=["red", "dog"])
    save_checkpoint(model, folder, {"metrics.json": '{"accuracy": 1}'})
    values = json.loads((folder / "config.json").read_text()) | {"temperature": 3.0}
    (folder / "config.json").write_text(json.dumps(values))
    (folder / "tokenizer" / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    add_familiarity(folder, limit=0.1)
    check_fingerprints(folder)
    return folder


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_every_file_that_is_saved_is_on_the_list(whole):
    assert names(whole) == {path.relative_to(whole).as_posix() for path in files_of_checkpoint(whole)}
    assert set(CHECKPOINT_FILES) <= names(whole)


def test_all_files_are_pushed_and_fetched(whole, monkeypatch, tmp_path):
    with serving_hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace("https://huggingface.co", hub.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub_cache"))
        monkeypatch.setenv("HF_TOKEN", hub.token)
        monkeypatch.chdir(tmp_path)
        push_folder(whole, "someone/whole")
        assert set(hub.repositories["someone/whole"]) == names(whole)
        fetched = fetch_checkpoint("someone/whole")
        assert names(fetched) == names(whole)
        assert set(VqaPredictor.from_checkpoint("someone/whole", device="cpu").familiar) == {"photo", "question"}

        (whole / FAMILIARITY_FILE).unlink()
        with pytest.raises(ValueError, match=r"lacks familiarity\.safetensors"):
            push_folder(whole, "someone/broken")
        assert "someone/broken" not in hub.repositories


def test_the_names_stand_in_one_place():
    """A list beside the list is how a file was lost."""
    ours = set(CHECKPOINT_FILES) - {"config.json", "README.md", "model.safetensors"}  # others' folders have these too
    spelled = re.compile(f'"({"|".join(map(re.escape, ours))})"')
    home = ROOT / "valm_core" / "checkpoints" / "contents.py"
    sources = [path for room in ("valm_core", "training", "demo", "hosting") for path in (ROOT / room).rglob("*.py")]
    assert [path.name for path in sources if path != home and spelled.search(path.read_text(encoding="utf-8"))] == []
    assert spelled.search(home.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", [*REQUIRED_FILES, FAMILIARITY_FILE, METRICS_FILE, "tokenizer/tokenizer_config.json"])
def test_a_file_of_another_checkpoint_is_refused_in_one_line(whole, other, name):
    shutil.copy(other / name, whole / name)
    with pytest.raises(ValueError, match=rf"{re.escape(name)} is not the file.*python -m valm_core") as told:
        load_checkpoint(whole)
    assert "\n" not in str(told.value)


def test_a_file_too_many_or_too_few_is_named(whole, other):
    (whole / "metrics.json").unlink()
    with pytest.raises(ValueError, match=r"lacks metrics\.json"):
        load_checkpoint(whole)
    (other / FAMILIARITY_FILE).unlink()
    write_fingerprints(other)
    shutil.copy(whole / FAMILIARITY_FILE, other)
    with pytest.raises(ValueError, match=r"familiarity\.safetensors was not written with this checkpoint's weights"):
        load_checkpoint(other)


def test_line_ends_indentation_and_the_card_may_change(whole):
    for name in ("answers.json", "config.json", "metrics.json"):
        values = json.loads((whole / name).read_text())
        (whole / name).write_bytes(json.dumps(values, indent=4).replace("\n", "\r\n").encode())
    (whole / "README.md").write_text("another card")
    assert load_checkpoint(whole).answers == ["yes", "no", "red"]


def test_an_older_checkpoint_loads_and_a_damaged_list_does_not(whole):
    (whole / FINGERPRINTS_FILE).write_text("{")
    with pytest.raises(ValueError, match=r"fingerprints\.json is damaged"):
        load_checkpoint(whole)
    (whole / FINGERPRINTS_FILE).unlink()
    assert load_checkpoint(whole).answers == ["yes", "no", "red"]


def test_a_change_that_was_meant_is_taken_by_the_command(whole, tmp_path, capsys):
    values = json.loads((whole / "config.json").read_text()) | {"temperature": 2.5}
    (whole / "config.json").write_text(json.dumps(values))
    contents.main([str(whole)])
    assert load_checkpoint(whole).config.temperature == 2.5
    with pytest.raises(SystemExit) as ended:
        contents.main([str(tmp_path)])
    assert ended.value.code == 2 and "config.json is missing" in capsys.readouterr().err
