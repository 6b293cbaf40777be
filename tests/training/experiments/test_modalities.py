"""A study of texts and photos on planted data: where only the photo tells, the text alone knows nothing."""

import json

import pytest
from PIL import Image
from toy_data import COLORS, write_rows

from training.experiments import modalities
from training.experiments.modalities import VARIANTS, main


@pytest.fixture(scope="module")
def config(tiny_config, tmp_path_factory):
    """Sixteen photos, red or blue, to learn from and eight others, all with the same text."""
    folder = tmp_path_factory.mktemp("moods")
    for split, count in (("train", 16), ("validation", 8)):
        rows = []
        for place in range(count):
            color = ("red", "blue")[place % 2]
            shade = tuple(max(part - 4 * place - (split == "validation"), 0) for part in COLORS[color])
            Image.new("RGB", (40, 30), shade).save(folder / f"{split}{place}.png")
            rows.append({"image": f"{split}{place}.png", "text": "there is any", "label": color})
        write_rows(folder / f"{split}.jsonl", rows)
    path = folder / "feel.yaml"
    path.write_text(
        f"""
run: {{data: {folder}/train.jsonl, validation: {folder}/validation.jsonl, output: {folder}/run, cache: {folder}/cache}}
model: {{task: feel, text_encoder: "{tiny_config.text_encoder}", image_encoder: "{tiny_config.image_encoder}",
  image_size: 32, width: 16, heads: 2, layers: 1, dropout: 0.0, cell_side: 2}}
training: {{epochs: 8, batch_size: 16, learning_rate: 0.02, warmup_steps: 2, early_stopping_patience: 8}}
""",
        encoding="utf-8",
    )
    return path


def test_every_variant_is_run_once_and_told_with_its_distance_to_the_text(config, capsys, tmp_path):
    words = ["--config", str(config), "--seeds", "1", "--output", str(tmp_path / "runs"), "--device", "cpu"]
    main([*words, "--report", str(tmp_path / "report")])
    study = json.loads((tmp_path / "report.json").read_text())
    scores = {name: [run["accuracy"] for run in runs] for name, runs in study["variants"].items()}
    assert scores.keys() == VARIANTS.keys()
    assert scores["text alone"] == [0.5]
    assert min(score for name, (score,) in scores.items() if name != "text alone") > 0.7
    text = (tmp_path / "report.md").read_text()
    assert text in capsys.readouterr().out
    assert "| text alone | 50.0 | 33.3 | |" in text
    finished = sorted((tmp_path / "runs").glob("*/0/figures.json"))
    times = [path.stat().st_mtime_ns for path in finished]
    main([*words, "--report", str(tmp_path / "again")])
    assert len(times) == len(VARIANTS)
    assert [path.stat().st_mtime_ns for path in finished] == times
    with pytest.raises(SystemExit, match="2"):
        main([*words, "--report", str(tmp_path / "report"), "dropout=0.5"])
    assert "was trained with other dropout" in capsys.readouterr().err


def test_a_finished_study_is_of_its_rows_and_not_of_its_files_names(config, tmp_path, monkeypatch):
    begun = []

    def figures(run, *_, **__):
        begun.append(run.output)
        kept = dict.fromkeys(("accuracy", "macro_f1", "f1", "best_epoch"), 0.5)
        return kept | {"always_commonest": {"label": "red", "accuracy": 0.5, "macro_f1": 0.5}}

    monkeypatch.setattr(modalities, "train", figures)
    lines = (config.parent / "train.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row | {"image": str(config.parent / row["image"])} for row in map(json.loads, lines)]
    files = [write_rows(tmp_path / name, part) for name, part in (("a.jsonl", rows[:8]), ("b.jsonl", rows[8:]))]
    arguments = (1, tmp_path / "runs", "made so", "cpu")
    modalities.run_study(str(config), {"data": ",".join(map(str, files))}, *arguments)
    whole = write_rows(tmp_path / "whole.jsonl", rows)
    modalities.run_study(str(config), {"data": str(whole)}, *arguments)
    assert len(begun) == len(VARIANTS)  # the same rows, in one file
    write_rows(files[1], [*rows[8:-1], rows[-1] | {"label": "red"}])
    with pytest.raises(ValueError, match="was trained with other data"):
        modalities.run_study(str(config), {"data": ",".join(map(str, files))}, *arguments)
