"""The shipped configs: what their data notes say of where a checkpoint's knowledge comes from."""

from pathlib import Path

import pytest

from training.run_config import read_config
from training.yaml_files import read_yaml

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "training" / "configs"
SHIPPED = {"retrieval": "find", "caption": "describe", "judge": "judge", "feel": "feel"}  # config -> checkpoint


@pytest.mark.parametrize(("name", "checkpoint"), SHIPPED.items())
def test_a_checkpoint_on_the_answering_encoder_says_all_that_it_learned_from(name, checkpoint, monkeypatch):
    monkeypatch.chdir(ROOT)
    run, _, _ = read_config(CONFIGS / f"{name}.yaml", {})
    header = (CONFIGS / "joint.yaml").read_text(encoding="utf-8")
    assert "24,327 of the 26,551 photos" in header and "(2,224 photos of\n# Flickr8k" in header
    assert f"{6006 - 2224:,} photos of Flickr8k with captions, for research alone" in run.data_note
    card = (ROOT / "assets" / "checkpoints" / checkpoint / "README.md").read_text(encoding="utf-8")
    assert run.data_note.strip() in card


def test_every_config_with_that_encoder_and_a_note_is_among_them():
    on_answering = {
        path.stem
        for path in CONFIGS.glob("*.yaml")
        if (read_yaml(path).get("run") or {}).get("init") == "assets/checkpoints/everyday"
        and "data_note" in read_yaml(path)["run"]
        and (read_yaml(path).get("model") or {}).get("task", "answer") != "answer"
    }
    assert on_answering == SHIPPED.keys()
