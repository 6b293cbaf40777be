"""The training command from a config file to a finished checkpoint."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toy_data import write_rows, write_vqa_v2

from training.calibrate import ONE_PHOTO
from training.datasets.readers.jsonl import read_rows
from training.datasets.statements import StatementDataset
from training.evaluate import evaluate
from training.run_config import RunConfig, parse_overrides, read_config
from training.train import main, notes_beforehand
from valm_core.checkpoints.storage import load_checkpoint
from valm_core.config import ValmConfig
from valm_core.model.build import build_model

CONFIGS = Path(__file__).parents[2] / "training" / "configs"


def train(config_file, *arguments: str) -> None:
    main(["--config", str(config_file), "--device", "cpu", *arguments])


def report_of(folder) -> dict:
    return json.loads((folder / "checkpoint" / "metrics.json").read_text())


def test_from_config_to_a_checkpoint_that_answers_everything(config_file, colored_squares, tmp_path, capsys):
    train(config_file, "epochs=25", "early_stopping_patience=25")
    printed = capsys.readouterr().out
    assert "8 rows, 8 of them with an answer among 6" in printed
    assert f"The checkpoint is in {tmp_path / 'run' / 'checkpoint'}." in printed
    report = report_of(tmp_path / "run")
    assert report["accuracy"] == 1.0 and report["multiple_choice_accuracy"] == 1.0
    assert report["epochs"] == 25 and 1 <= report["best_epoch"] <= 25
    assert report["command"].startswith("python -m training.train --config")
    assert report["command"].endswith("epochs=25 early_stopping_patience=25")

    model = load_checkpoint(tmp_path / "run" / "checkpoint")
    assert sorted(model.answers) == ["blue", "green", "no", "red", "yellow", "yes"]
    measured = evaluate(model, read_rows(colored_squares))
    for name in measured.keys() - {"seconds", "expected_calibration_error"}:
        assert measured[name] == report[name], name
    rounded = pytest.approx(report["expected_calibration_error"], abs=1e-3)  # the run measured on its float16 features
    assert measured["expected_calibration_error"] == rounded
    card = (tmp_path / "run" / "checkpoint" / "README.md").read_text()
    assert "Answers questions about a photo out of 6 fixed answers" in card and "8 rows of" in card


def test_photos_to_learn_from_and_to_validate_on_are_noted(config_file, colored_squares, tmp_path, monkeypatch):
    run, rows = read_config(config_file, {})[0], read_rows(colored_squares)
    monkeypatch.chdir(colored_squares.parent)
    again = read_rows(colored_squares.name)
    shared = [note for note in notes_beforehand(run, rows, again[2:], ["red"]) if "among those to learn from" in note]
    assert len(shared) == 1 and "3 of its photos are among those to learn from, e.g. " in shared[0]
    others = [dataclasses.replace(row, image=tmp_path / "other.png") for row in rows]
    assert not any("among those to learn from" in note for note in notes_beforehand(run, rows, others, ["red"]))


def test_cached_features_train_as_running_the_encoders_does(config_file, tmp_path):
    models, losses = [], []
    for output, cache in (("cached", tmp_path / "cache"), ("uncached", "''")):
        train(config_file, "--output", str(tmp_path / output), "weights=float32", f"cache={cache}")
        models.append(load_checkpoint(tmp_path / output / "checkpoint"))
        lines = (tmp_path / output / "metrics.jsonl").read_text().splitlines()
        losses.append([json.loads(line)["loss"] for line in lines[1:]])
    assert losses[0] == pytest.approx(losses[1], abs=0.01)  # the cache rounds to float16
    assert losses[0][0] == pytest.approx(losses[1][0], abs=1e-3)
    assert models[0].mean_image_token.abs().sum() > 0
    torch.testing.assert_close(models[0].mean_image_token, models[1].mean_image_token, atol=2e-3, rtol=2e-3)


def test_a_second_run_takes_the_cache(config_file, tmp_path, monkeypatch):
    train(config_file, "epochs=1")
    entries = sorted(path.name for path in (tmp_path / "cache").iterdir())

    def forbid(*_):
        raise AssertionError("photos were encoded again")

    monkeypatch.setattr("training.datasets.feature_cache._encode_photos", forbid)
    train(config_file, "epochs=2", "--output", str(tmp_path / "second"))
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == entries


def test_half_and_full_storage(config_file, tmp_path):
    sizes = {}
    for weights in ("float16", "float32"):
        train(config_file, "epochs=1", f"weights={weights}", "--output", str(tmp_path / weights))
        sizes[weights] = (tmp_path / weights / "checkpoint" / "model.safetensors").stat().st_size
    assert 1.5 < sizes["float32"] / sizes["float16"] < 2.1


def test_a_blind_run_needs_no_photo(config_file, tmp_path):
    rows = [{"question": "what color is the square?", "answer": "red"}, {"question": "is there any?", "answer": "no"}]
    data = str(write_rows(tmp_path / "text.jsonl", rows))
    train(config_file, "--data", data, "--validation", data, "blind=true", "epochs=8", "early_stopping_patience=8")
    report = report_of(tmp_path / "run")
    assert report["blind"] is True and report["accuracy"] == 1.0


def test_one_validation_photo_leaves_one_figure_out_and_says_so_first(config_file, colored_squares, tmp_path, capsys):
    rows = [json.loads(line) for line in colored_squares.read_text().splitlines()]
    validation = str(write_rows(tmp_path / "one.jsonl", rows[:2]))
    train(config_file, "--validation", validation, "epochs=1")
    printed = capsys.readouterr().out
    assert printed.index(ONE_PHOTO) < printed.index("epoch 0")
    report = report_of(tmp_path / "run")
    assert report["questions"] == 2 and "held_out_calibration_error" not in report
    card = (tmp_path / "run" / "checkpoint" / "README.md").read_text()
    assert "All of them are about one photo" in card and "the other half" not in card
    assert (tmp_path / "run" / "report.md").is_file()


def test_a_run_tells_first_what_becomes_of_its_answers(config_file, colored_squares, tmp_path, capsys):
    rows = [json.loads(line) for line in colored_squares.read_text().splitlines()]
    rows = [row | {"answer": answer} for row, answer in zip(rows, ["A", "A", "B", "+", "C++", "C"], strict=False)]
    data = str(write_rows(tmp_path / "letters.jsonl", rows))
    validation = str(write_rows(tmp_path / "val.jsonl", [*rows, rows[0] | {"answer": "purple"}]))
    train(config_file, "--data", data, "--validation", validation, "epochs=1")
    printed = capsys.readouterr().out
    before, after = printed.split("epoch 0", 1)
    assert f"{data}: 2 answers of which the VQA rules leave nothing are kept as written: 'a' (2), '+' (1)" in before
    assert "'c++' (1) = 'c' (1)" in before and "5 of them with" not in printed
    assert f"{validation}: 1 of 7 rows have no answer among the model's 5" in before
    assert "6 rows, 6 of them with an answer among 5" in before and after
    answers = load_checkpoint(tmp_path / "run" / "checkpoint").answers
    assert sorted(answers) == ["+", "a", "b", "c", "c++"]


def test_the_card_names_the_optimizer_and_the_rule_that_chose_the_epoch(config_file, colored_squares, tmp_path):
    cards = {}
    sgd = ["optimizer=sgd", "schedule=linear", "accuracy_to_spare=1", "repeat=2"]
    for output, settings in (("plain", []), ("sgd", [*sgd, f"rehearsal={colored_squares}"])):
        train(config_file, "--output", str(tmp_path / output), "epochs=1", *settings)
        cards[output] = (tmp_path / output / "checkpoint" / "README.md").read_text()
    assert "AdamW at a learning rate of 0.01, cosine schedule" in cards["plain"]
    assert "Epoch 1 of 1 was the best on the validation rows" in cards["plain"] and "each 2 times" not in cards["plain"]
    assert "SGD with momentum 0.9 at a learning rate of 0.01, linear schedule" in cards["sgd"]
    assert "AdamW" not in cards["sgd"] and "was the best" not in cards["sgd"]
    assert "Epoch 1 of 1 is kept: the last that lost no more than 1.0 of the accuracy" in cards["sgd"]
    assert "An epoch has 24 rows of" in cards["sgd"] and "each 2 times, and of" in cards["sgd"]


def test_a_run_can_start_from_another_ones_weights_and_answers(config_file, tmp_path):
    train(config_file)
    start = load_checkpoint(tmp_path / "run" / "checkpoint")
    second = tmp_path / "second"
    still = ["epochs=1", "learning_rate=1e-9", "answers=2"]
    train(config_file, "--init", str(tmp_path / "run" / "checkpoint"), "--output", str(second), *still)
    went_on = load_checkpoint(second / "checkpoint")
    assert went_on.answers == start.answers and len(start.answers) == 6
    for name, tensor in start.state_dict().items():
        torch.testing.assert_close(went_on.state_dict()[name], tensor, atol=1e-4, rtol=1e-3, msg=name)


@pytest.mark.usefixtures("drawn_curves")
def test_pretraining_then_answers_from_its_checkpoint(config_file, tmp_path, capsys):
    first, second = tmp_path / "pretrained", tmp_path / "answers"
    train(config_file, "--output", str(first), "objective=pretraining", "epochs=4")
    assert f"The checkpoint is in {first / 'checkpoint'}." in capsys.readouterr().out
    lines = [json.loads(line) for line in (first / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [0, 1, 2, 3, 4]
    assert {"loss", "masked_language", "matching", "contrastive", "validation_total"} <= lines[1].keys()
    assert lines[-1]["loss"] < lines[1]["loss"]
    report = report_of(first)
    assert report["epoch"] == max(lines, key=lambda line: (line["epoch"] > 0, line["accuracy"]))["epoch"]
    assert (first / "curves.png").stat().st_size > 1000

    start = load_checkpoint(first / "checkpoint")
    train(config_file, "--init", str(first / "checkpoint"), "--output", str(second), "learning_rate=1e-9", "epochs=1")
    before = json.loads((second / "before.json").read_text())[0]
    assert before["accuracy"] == pytest.approx(evaluate(start, read_rows(tmp_path / "rows.jsonl"))["accuracy"])
    went_on = load_checkpoint(second / "checkpoint")
    for name, tensor in start.state_dict().items():
        torch.testing.assert_close(went_on.state_dict()[name], tensor, atol=1e-4, rtol=1e-3, msg=name)


def test_pretraining_stopped_within_an_epoch_goes_on_to_the_same_end(config_file, tmp_path, monkeypatch):
    settings = ["objective=pretraining", "epochs=3", "batch_size=2", "save_every=1", "weights=float32", "dropout=0.1"]
    train(config_file, "--output", str(tmp_path / "whole"), *settings)

    collate, calls = StatementDataset.collate, []

    def stop_in_the_second_epoch(self, indices):
        calls.append(indices)
        if len(calls) == 1 + 4 + 1 + 3:  # a validation is one call, an epoch four
            raise KeyboardInterrupt
        return collate(self, indices)

    with monkeypatch.context() as patch:
        patch.setattr(StatementDataset, "collate", stop_in_the_second_epoch)
        with pytest.raises(KeyboardInterrupt):
            train(config_file, *settings)
    train(config_file, "--resume", *settings)
    expected, found = (load_file(tmp_path / run / "checkpoint" / "model.safetensors") for run in ("whole", "run"))
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


def test_a_stopped_run_resumes(config_file, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("training.train.fit_temperatures", stop)  # after training, before the checkpoint is written
        with pytest.raises(KeyboardInterrupt):
            train(config_file)
    assert not (tmp_path / "run" / "checkpoint").exists()
    train(config_file, "--resume")
    assert report_of(tmp_path / "run")["epochs"] == 3
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 1 + 3


def test_a_trained_image_encoder_ends_up_in_the_checkpoint(config_file, tmp_path, tiny_config):
    train(config_file, "train_image_encoder=true", "cache=''", "epochs=2", "encoder_learning_rate=0.01")
    loaded = load_checkpoint(tmp_path / "run" / "checkpoint")
    untrained = build_model(tiny_config, ["a"]).image_encoder.state_dict()
    moved = [
        name
        for name, tensor in loaded.image_encoder.state_dict().items()
        if not tensor.equal(untrained[name].half().float())
    ]
    assert any("weight" in name for name in moved)


def test_official_vqa_v2_files_train_with_soft_targets(config_file, tmp_path):
    ten = ["red"] * 5 + ["blue"] * 5
    source = write_vqa_v2(tmp_path / "v2", [9, 8], [ten, ten])
    settings = ["targets=soft", "epochs=4", "repeat=40", "learning_rate=0.03"]
    train(config_file, "--data", source, "--validation", source, *settings)
    report = report_of(tmp_path / "run")
    assert report["accuracy"] == 1.0 and report["by_source"] == {"vqa_v2": 1.0}
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[1:]]
    assert losses[-1] < 0.3  # both answers can be fully right, which shares of one half can't show


def test_captions_pretrain_and_cannot_be_answered(config_file, tmp_path, capsys):
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    captions = [{"image": row["image"], "caption": f"the {row['answer']} square"} for row in rows]
    data = str(write_rows(tmp_path / "captions.jsonl", captions + rows[:1]))
    train(config_file, "--data", data, "--validation", data, "objective=pretraining", "epochs=1", "cache=''")
    assert report_of(tmp_path / "run")["epoch"] == 1
    assert "captions.jsonl:1: a `caption` has no answer" in refused(capsys, config_file, "--data", data)


def refused(capsys, config_file, *arguments: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        train(config_file, *arguments)
    assert stopped.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["learnin_rate=3"], "no setting `learnin_rate`"),
        (["epocs=3"], "no setting `epocs`"),
        (["epochs"], "'epochs' is no setting; write name=value"),
        (["epochs=many"], "TrainingConfig.epochs is 'many'; a value of type int"),
        (["width=30", "heads=4"], "a divisor of the width 30"),
        (["fine_tuning=half"], "fine_tuning is 'half'; allowed: frozen, photo, question:N, full, top_layers:N"),
        (["fine_tuning=top_layers:9"], "the text encoder has 2 layers"),
        (["fine_tuning=lora"], "which adapts a trained model. Give one with `init`"),
        (["new_answers=-1"], "new_answers is -1; allowed: a number from 0"),
        (["--resume"], "nothing to resume"),
        (["--data", "gone.jsonl"], "no data file gone.jsonl"),
        (["--init", "gone"], "gone is no VALM checkpoint"),
        (["data=null"], "RunConfig.data is None"),
        (["answers=0"], "answers is 0; allowed: a number from 1"),
        (["weights=float8"], "weights is 'float8'; allowed: float32, float16"),
    ],
)
def test_a_fault_is_one_line_that_says_what_to_do(config_file, capsys, arguments, message):
    error = refused(capsys, config_file, *arguments)
    assert message in error and "Traceback" not in error


def test_an_unknown_setting_suggests_the_nearest_of_any_section(config_file, capsys):
    assert "Did you mean `epochs`?" in refused(capsys, config_file, "epocs=3")
    assert "Did you mean `dropout`?" in refused(capsys, config_file, "dropuot=0.1")
    assert "Did you mean `output`?" in refused(capsys, config_file, "outputt=x")


def test_overrides_reach_their_sections(config_file):
    run, model, training = read_config(config_file, parse_overrides(["answers=7", "layers=1", "learning_rate=3e-4"]))
    assert isinstance(run, RunConfig) and run.answers == 7
    assert isinstance(model, ValmConfig) and model.layers == 1
    assert training.learning_rate == 3e-4 and training.epochs == 3


def test_an_unknown_section_and_a_missing_setting_are_named(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("modell: {width: 8}")
    with pytest.raises(ValueError, match="unknown section 'modell'; allowed: run, model, training"):
        read_config(path, {})
    path.write_text("run: {data: a.jsonl}")
    with pytest.raises(ValueError, match="RunConfig needs a value for `validation`, `output`"):
        read_config(path, {})


@pytest.mark.parametrize("content", ["- run", "model: 3", "just words"])
def test_a_config_without_sections_is_refused(tmp_path, content):
    path = tmp_path / "config.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match="needs the sections run, model, training"):
        read_config(path, {})


def test_a_config_that_is_no_yaml_is_refused_without_a_traceback(tmp_path, capsys):
    path = tmp_path / "config.yaml"
    path.write_text("run: {data: [")
    assert "config.yaml" in refused(capsys, path)


def test_a_loss_that_is_no_number_is_told_without_a_traceback(config_file, capsys):
    error = refused(capsys, config_file, "learning_rate=1e30", "batch_size=2")
    assert "The loss is nan" in error and "Lower `learning_rate`" in error


OF_ANOTHER_COMMAND = ("joint.yaml",)  # training.train_joint reads it, see test_train_joint


@pytest.mark.parametrize(
    "path",
    sorted(path for path in CONFIGS.glob("*.yaml") if path.name not in OF_ANOTHER_COMMAND),
    ids=lambda path: path.stem,
)
def test_the_published_configs_are_valid(path):
    read_config(path, {})


def test_there_are_published_configs():
    assert (CONFIGS / "everyday.yaml").is_file()
