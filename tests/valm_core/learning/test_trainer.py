"""The training loop: it learns, resumes exactly, keeps the best, stops early, and never overwrites it with NaN."""

import dataclasses
import itertools
import json
import math
import pickle
from functools import partial

import pytest
import torch
from torch.utils.data import DataLoader
from toy_data import ANSWERS

from training.datasets.feature_cache import FeatureCache
from training.datasets.questions import QuestionDataset
from training.datasets.readers.jsonl import read_rows
from training.datasets.statements import StatementDataset
from training.evaluate import predict_logits, score_rows
from valm_core.checkpoints.storage import load_checkpoint
from valm_core.learning.batches import BucketedBatches, LengthBucketSampler
from valm_core.learning.losses import AnswerObjective
from valm_core.learning.optimizer import parameter_groups
from valm_core.learning.trainer import Trainer, choose_precision
from valm_core.learning.training_config import TrainingConfig
from valm_core.model.build import build_model
from valm_core.model.model import ValmModel

SMALL = TrainingConfig(
    epochs=4, batch_size=2, learning_rate=3e-3, warmup_steps=2, early_stopping_patience=100, precision="no"
)


@pytest.fixture
def make_trainer(tiny_config, colored_squares, tmp_path):
    """Build a trainer of a fresh model (seeded) on the toy set: make_trainer(output, seed=, evaluate=, **settings)."""
    rows = read_rows(colored_squares)

    def make(output: str, seed: int = 0, evaluate=None, collate=None, dropout: float = 0.2, **settings) -> Trainer:
        torch.manual_seed(seed)
        model = build_model(dataclasses.replace(tiny_config, dropout=dropout), ANSWERS)
        dataset = QuestionDataset(rows, model)

        def accuracy(model: ValmModel) -> dict:
            return score_rows(rows, predict_logits(model, dataset).softmax(dim=-1), model.answers)

        config = dataclasses.replace(SMALL, **settings)
        wrapped = dataset.collate if collate is None else lambda indices: collate(dataset.collate(indices))
        batches = BucketedBatches(
            dataset, wrapped, config.batch_size // config.accumulation_steps, config.seed, config.workers
        )
        objective = AnswerObjective(model, config.visual_weight, config.alignment_weight, config.label_smoothing)
        return Trainer(objective, batches, evaluate or accuracy, config, tmp_path / output)

    return make


def planned(*accuracies: float):
    """An evaluation that gives these accuracies, one an epoch, after a first 0 for the model before training."""
    remaining = iter((0.0, *accuracies))
    return lambda model: {"accuracy": next(remaining)}


def metrics(trainer: Trainer) -> list[dict]:
    """The lines about epochs that were trained, without the one about the model before."""
    return [json.loads(line) for line in (trainer.output / "metrics.jsonl").read_text().splitlines()][1:]


def last_weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return torch.load(trainer.output / "last" / "trainer.pt", weights_only=True)["weights"]


def test_it_learns_the_toy_set_completely(make_trainer):
    trainer = make_trainer("run", dropout=0.0, epochs=25, batch_size=8, learning_rate=1e-2)
    progress = trainer.train()
    assert progress["best_quality"] == 1.0
    best = load_checkpoint(trainer.output / "best")
    assert trainer.evaluate(best)["accuracy"] == 1.0
    losses = [row["loss"] for row in metrics(trainer)]
    assert losses[-1] < 0.3 < 1 < losses[0]


def test_a_resumed_run_equals_an_uninterrupted_one_bit_by_bit(make_trainer):
    whole = make_trainer("whole")
    finished = whole.train()

    interrupted = make_trainer("interrupted")
    evaluate, calls = interrupted.evaluate, []

    def evaluate_twice_then_stop(model):
        calls.append(model)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return evaluate(model)

    interrupted.evaluate = evaluate_twice_then_stop
    with pytest.raises(KeyboardInterrupt):
        interrupted.train()

    resumed = make_trainer("interrupted", seed=99)  # other initial weights, other random state
    torch.rand(7)
    assert resumed.train(resume=True) == finished
    assert resumed.progress["epoch"] == 4
    for read in (lambda run: load_checkpoint(run.output / "best").state_dict(), last_weights):
        expected, found = read(whole), read(resumed)
        assert expected.keys() == found.keys()
        assert [name for name in found if not torch.equal(found[name], expected[name])] == []
    assert [row["loss"] for row in metrics(resumed)] == [row["loss"] for row in metrics(whole)]


def test_dropout_and_order_follow_the_seed(make_trainer):
    losses = []
    for output, seed in (("one", 0), ("two", 0), ("three", 1)):
        trainer = make_trainer(output, seed=0, epochs=1)
        trainer.batches.sampler.seed = seed
        trainer.train()
        losses.append(metrics(trainer)[0]["loss"])
    assert losses[0] == losses[1] != losses[2]


def test_every_epoch_has_an_order_of_its_own(make_trainer):
    seen = []

    def remember(batch):
        seen.append(batch["targets"].argmax(dim=1).tolist())
        return batch

    make_trainer("run", collate=remember, evaluate=planned(0.1, 0.2, 0.3), epochs=3).train()
    first, second, third = seen[:4], seen[4:8], seen[8:]  # 8 rows in batches of 2
    assert first != second != third != first


def test_resuming_needs_the_same_settings_and_something_to_resume(make_trainer):
    with pytest.raises(FileNotFoundError, match="nothing to resume"):
        make_trainer("run").train(resume=True)
    make_trainer("run", epochs=1).train()
    with pytest.raises(ValueError, match="other settings"):
        make_trainer("run", epochs=2).train(resume=True)


def test_a_finished_run_resumes_to_itself(make_trainer):
    first = make_trainer("run", epochs=1)
    progress = first.train()
    assert make_trainer("run", epochs=1).train(resume=True) == progress
    assert len(metrics(first)) == 1


def test_the_best_epoch_is_kept_and_not_the_last(make_trainer):
    states = []
    accuracies = iter([0.0, 0.5, 0.9, 0.7])

    def evaluate(model):
        states.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return {"accuracy": next(accuracies)}

    trainer = make_trainer("run", evaluate=evaluate, epochs=3)
    assert trainer.train() == {"epoch": 3, "best_quality": 0.9, "best_epoch": 2}
    best = load_checkpoint(trainer.output / "best").state_dict()
    assert [name for name in best if not torch.equal(best[name], states[2][name])] == []
    assert torch.equal(last_weights(trainer)["model.head.0.weight"], states[3]["head.0.weight"])
    assert not torch.equal(states[2]["head.0.weight"], states[3]["head.0.weight"])


def test_training_stops_early_without_a_better_epoch(make_trainer):
    trainer = make_trainer("run", evaluate=planned(0.5, 0.5, 0.4, 0.9), epochs=4, early_stopping_patience=2)
    assert trainer.train() == {"epoch": 3, "best_quality": 0.5, "best_epoch": 1}


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint(make_trainer):
    batches = []

    def spoil_the_second_epoch(batch):
        batches.append(batch)
        return batch | {"targets": batch["targets"] * (float("nan") if len(batches) > 4 else 1.0)}

    trainer = make_trainer("run", collate=spoil_the_second_epoch)
    with pytest.raises(FloatingPointError, match=r"loss is nan in batch 1 of epoch 2.*learning_rate"):
        trainer.train()
    assert all(tensor.isfinite().all() for tensor in last_weights(trainer).values())
    assert len(metrics(trainer)) == 1


def test_accumulated_batches_make_the_step_of_one_large_batch(make_trainer):
    weights = []
    for output, steps in (("one", 1), ("two", 2)):
        trainer = make_trainer(output, dropout=0.0, epochs=1, batch_size=8, accumulation_steps=steps, warmup_steps=0)
        trainer.train()
        assert trainer.schedule.last_epoch == 1, "one step of the schedule for one update"
        weights.append(trainer.raw_model.head[0].weight)
    torch.testing.assert_close(*weights, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("batch_size", "steps"), [(4, 2), (6, 2), (6, 3), (8, 4)])
def test_accumulation_is_exact_also_where_the_last_batch_is_smaller(make_trainer, batch_size, steps):
    """7 rows: groups of unequal batches, and a last group of fewer batches; a step has the same rows either way."""
    weights = []
    for output, accumulation in (("whole", 1), ("accumulated", steps)):
        trainer = make_trainer(
            output,
            dropout=0.0,
            epochs=2,
            batch_size=batch_size,
            accumulation_steps=accumulation,
            warmup_steps=0,
            schedule="constant",
            optimizer="sgd",
            learning_rate=0.1,
            visual_weight=0.5,
        )
        micro = batch_size // accumulation
        trainer.batches.rows = 7
        trainer.batches.sampler = FixedBatches([list(range(7))[start : start + micro] for start in range(0, 7, micro)])
        trainer.train()
        weights.append(last_weights(trainer) | {"loss": torch.tensor([row["loss"] for row in metrics(trainer)])})
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, atol=1e-5, rtol=1e-4, msg=name)


class FixedBatches(list):
    """A sampler of the same batches in every epoch."""

    epoch = 0


def test_sgd_has_momentum_and_moves_against_the_gradient(make_trainer):
    trainer = make_trainer("run", optimizer="sgd", epochs=1, batch_size=8, warmup_steps=0, dropout=0.0)
    before = trainer.raw_model.head[0].bias.detach().clone()
    gradients = []
    trainer.raw_model.head[0].bias.register_hook(gradients.append)
    trainer.train()
    assert isinstance(trainer.optimizer.optimizer, torch.optim.SGD)
    moved = before - trainer.raw_model.head[0].bias.detach()
    cosine = torch.cosine_similarity(moved, gradients[0], dim=0).item()
    assert cosine == pytest.approx(1.0, abs=1e-4)  # by the rate times the clipped gradient
    assert trainer.optimizer.param_groups[0]["momentum"] == 0.9


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("constant", [0.5, 1.0, 1.0, 1.0, 1.0]), ("linear", [0.5, 7 / 8, 6 / 8, 1 / 2, 0.0]), ("cosine", None)],
)
def test_schedules_after_the_warmup(make_trainer, schedule, expected):
    trainer = make_trainer("run", schedule=schedule, epochs=4, batch_size=4, warmup_steps=2)  # 8 steps
    rates = [trainer._learning_rate_factor(step) for step in (0, 1, 2, 4, 8)]
    if schedule == "cosine":
        expected = [0.5, *((1 + math.cos(math.pi * step / 8)) / 2 for step in (1, 2, 4, 8))]
    assert rates == pytest.approx(expected)
    assert make_trainer("none", schedule="constant", warmup_steps=0)._learning_rate_factor(0) == 1.0


def test_bf16_computes_in_bf16_and_keeps_weights_and_loss_in_float32(make_trainer):
    trainer = make_trainer("run", precision="bf16", epochs=1, batch_size=8, visual_weight=0.5, alignment_weight=0.5)
    seen = []
    trainer.raw_model.head[0].register_forward_hook(lambda *arguments: seen.append(arguments[2].dtype))
    trainer.train()
    assert torch.bfloat16 in seen
    assert {tensor.dtype for tensor in last_weights(trainer).values() if tensor.is_floating_point()} == {torch.float32}
    assert metrics(trainer)[0]["loss"] > 0 and metrics(trainer)[0]["alignment"] > 0


def test_workers_give_the_same_batches(make_trainer):
    seen = []
    for output, workers in (("none", 0), ("two", 2)):
        batches = make_trainer(output, workers=workers).batches
        seen.append([(rows, own, batch) for epoch in (0, 1) for rows, own, batch in batches.epoch(epoch, 1, 0, 1)])
    assert len(seen[0]) == len(seen[1]) == 2 * 3  # the first batch of each epoch is left out
    for (rows, own, batch), (other_rows, other_own, other) in zip(*seen, strict=True):
        assert (rows, own) == (other_rows, other_own) and batch.keys() == other.keys()
        assert all(torch.equal(batch[name], other[name]) for name in batch)


def test_spawned_workers_give_the_same_batches(tiny_model, colored_squares, monkeypatch):
    """As processes start on macOS and Windows, and on Linux from Python 3.14: all that they get is pickled."""
    dataset = QuestionDataset(read_rows(colored_squares), tiny_model)
    here = list(BucketedBatches(dataset, dataset.collate, 4, seed=0).epoch(0, 0, 0, 1))
    monkeypatch.setattr("valm_core.learning.batches.DataLoader", partial(DataLoader, multiprocessing_context="spawn"))
    spawned = list(BucketedBatches(dataset, dataset.collate, 4, seed=0, workers=2).epoch(0, 0, 0, 1))
    assert len(here) == len(spawned) == 2
    for (_, _, batch), (_, _, other) in zip(here, spawned, strict=True):
        assert batch.keys() == other.keys() and all(torch.equal(batch[name], other[name]) for name in batch)


@pytest.mark.parametrize("cached", [False, True])
def test_what_workers_get_is_small_and_holds_no_model(tiny_model, colored_squares, tmp_path, cached):
    rows = read_rows(colored_squares)
    photos, questions = [row.image for row in rows], [row.question for row in rows]
    features = FeatureCache(tiny_model, photos, questions, tmp_path / "cache") if cached else None
    dataset = QuestionDataset(rows, tiny_model, features)
    pickled = pickle.dumps(dataset)
    assert len(pickled) < 30_000 and b"ValmModel" not in pickled and b"memmap" not in pickled
    batch, other = (part.collate([5, 0, 2]) for part in (dataset, pickle.loads(pickled)))
    assert batch.keys() == other.keys() and all(torch.equal(batch[name], other[name]) for name in batch)
    assert ("image_tokens" in batch) == cached


def test_statements_can_be_sent_to_spawned_workers(tiny_model, colored_squares):
    dataset = StatementDataset(read_rows(colored_squares), tiny_model)
    again = pickle.loads(pickle.dumps(dataset)).collate([0, 3])
    assert all(torch.equal(again[name], value) for name, value in dataset.collate([0, 3]).items())


def test_tensorboard_gets_every_term_and_every_epoch(make_trainer):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer = make_trainer("run", tracker="tensorboard", epochs=2, visual_weight=0.5)
    trainer.train()
    file = next(trainer.output.glob("tensorboard/**/events.out.tfevents.*"))
    events = EventAccumulator(str(file)).Reload()
    assert {"train/total", "train/task", "train/visual", "epoch/accuracy", "epoch/loss"} <= set(
        events.Tags()["scalars"]
    )
    steps = [event.step for event in events.Scalars("train/total")]
    assert steps == list(range(1, 9))  # 2 epochs of 4 batches
    assert [event.step for event in events.Scalars("epoch/accuracy")] == [0, 4, 8]
    assert events.Scalars("epoch/loss")[-1].value == pytest.approx(metrics(trainer)[-1]["loss"])


def test_the_learning_rate_rises_then_falls_to_zero(make_trainer):
    trainer = make_trainer("run", epochs=4, batch_size=2, warmup_steps=4)  # 16 steps
    rates = [trainer._learning_rate_factor(step) for step in range(17)]
    assert rates[0] == pytest.approx(0.25)
    assert max(rates) == rates[3] <= 1.0
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert rates[8] == pytest.approx(0.5) and rates[16] == pytest.approx(0)


def test_frozen_encoders_do_not_move(make_trainer):
    trainer = make_trainer("frozen", epochs=1)
    before = {name: tensor.clone() for name, tensor in trainer.raw_model.state_dict().items()}
    trainer.train()
    moved = {
        name.split(".")[0] for name, tensor in trainer.raw_model.state_dict().items() if not tensor.equal(before[name])
    }
    assert {"fusion", "head", "text_projection"} <= moved and not moved & {"text_encoder", "image_encoder"}


def test_encoders_have_their_own_rate_and_only_matrices_decay(tiny_config):
    model = build_model(dataclasses.replace(tiny_config, train_text_encoder=True), ANSWERS)
    config = TrainingConfig(learning_rate=1.0, head_learning_rate=3.0, encoder_learning_rate=0.1, weight_decay=0.5)
    settings = {
        id(parameter): (group["lr"], group["weight_decay"])
        for group in parameter_groups(AnswerObjective(model), config)
        for parameter in group["params"]
    }
    assert len(settings) == sum(parameter.requires_grad for parameter in model.parameters())
    assert settings[id(model.head[0].weight)] == (3.0, 0.5)
    assert settings[id(model.head[0].bias)] == (3.0, 0.0)
    assert settings[id(model.text_projection.weight)] == (1.0, 0.5)
    assert settings[id(model.text_norm.weight)] == (1.0, 0.0)
    assert settings[id(model.text_encoder.backbone.encoder.layer[0].output.dense.weight)] == (0.1, 0.5)
    assert settings[id(model.text_encoder.backbone.encoder.layer[0].output.dense.bias)] == (0.1, 0.0)
    assert not any(id(parameter) in settings for parameter in model.image_encoder.parameters())


def test_no_training_row_is_refused(tiny_model):
    empty = QuestionDataset([], tiny_model)
    with pytest.raises(ValueError, match="no training row"):
        BucketedBatches(empty, empty.collate, 2, seed=0)


def test_auto_takes_bf16_on_a_cpu_only_where_it_is_fast(monkeypatch):
    for supported, expected in ((True, "bf16"), (False, "no")):
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda supported=supported: supported)
        assert choose_precision("auto", torch.device("cpu")) == expected
    assert choose_precision("bf16", torch.device("cpu")) == "bf16"
    assert choose_precision("auto", torch.device("mps")) == "no"


def test_fp16_needs_a_gpu():
    assert choose_precision("fp16", torch.device("cuda")) == "fp16"
    with pytest.raises(ValueError, match="precision is 'fp16', which needs a GPU"):
        choose_precision("fp16", torch.device("cpu"))


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"batch_size": -1},
        {"accumulation_steps": 0},
        {"learning_rate": 0.0},
        {"gradient_clipping": 0.0},
        {"early_stopping_patience": 0},
        {"precision": "int8"},
    ],
)
def test_a_setting_that_is_not_allowed_is_named(change):
    name, value = next(iter(change.items()))
    with pytest.raises(ValueError, match=f"{name} is {value!r}"):
        TrainingConfig(**change)


def test_accumulation_must_divide_the_batch():
    with pytest.raises(ValueError, match="batch_size 10 is no multiple of accumulation_steps 3"):
        TrainingConfig(batch_size=10, accumulation_steps=3)


# ---- LengthBucketSampler ---------------------------------------------------------------------------------------------

LENGTHS = torch.randint(3, 30, (203,), generator=torch.Generator().manual_seed(0)).tolist()


def test_every_row_comes_once_an_epoch():
    sampler = LengthBucketSampler(LENGTHS, batch_size=10, seed=0, pool=5)
    batches = list(sampler)
    assert sorted(row for batch in batches for row in batch) == list(range(203))
    assert len(batches) == len(sampler) == 21
    assert sorted(map(len, batches)) == [3] + [10] * 20


def test_seed_and_epoch_decide_the_order():
    def order(seed: int, epoch: int) -> list[list[int]]:
        sampler = LengthBucketSampler(LENGTHS, 10, seed)
        sampler.epoch = epoch
        return list(sampler)

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)


@pytest.mark.parametrize("processes", [1, 2, 3, 12])
def test_processes_share_every_batch_and_every_row_comes_once(tiny_model, processes):
    class Rows(list):
        lengths = LENGTHS

    batches = BucketedBatches(Rows(range(203)), lambda rows: {"rows": torch.tensor(rows)}, 10, seed=0)
    shares = [list(batches.epoch(3, 0, rank, processes)) for rank in range(processes)]
    seen = []
    for parts in zip(*shares, strict=True):
        assert len({rows for rows, _, _ in parts}) == 1 and sum(own for _, own, _ in parts) == parts[0][0]
        assert all(len(part["rows"]) > 0 for _, _, part in parts)  # also where there is no row left for a process
        seen += [row for _, own, part in parts for row in part["rows"][:own].tolist()]
    assert sorted(seen) == list(range(203))


def test_batches_hold_rows_of_similar_length():
    def padding(batches) -> int:
        lengths = [[LENGTHS[row] for row in batch] for batch in batches]
        return sum(max(batch) * len(batch) - sum(batch) for batch in lengths)

    shuffled = torch.randperm(203, generator=torch.Generator().manual_seed(0)).split(10)
    bucketed = padding(LengthBucketSampler(LENGTHS, 10, seed=0))
    assert bucketed < padding(batch.tolist() for batch in shuffled) / 4


def test_a_photos_rows_stay_together_where_asked():
    photo_ids = [index % 40 for index in range(203)]
    sampler = LengthBucketSampler(LENGTHS, 10, seed=0, photo_ids=photo_ids)
    batches = list(sampler)
    assert sorted(row for batch in batches for row in batch) == list(range(203)) and len(batches) == len(sampler)
    photos_in_order = [photo_ids[row] for batch in batches for row in batch]
    changes = sum(first != second for first, second in itertools.pairwise(photos_in_order))
    assert changes == 39
    sampler.epoch = 1
    assert list(sampler) != batches


def resume_with(make_trainer, output: str, **changes) -> Trainer:
    """A trainer on ``output`` whose ``made_from`` has other values in ``depends_on`` or other answers."""
    trainer = make_trainer(output, epochs=1)
    if "answers" in changes:
        trainer.made_from["answers"] = changes.pop("answers")
    trainer.made_from["depends_on"] = trainer.made_from["depends_on"] | changes
    return trainer


def test_resuming_with_another_answer_list_or_other_data_is_refused_in_one_line(make_trainer):
    resume_with(make_trainer, "run", data={"rows": 8, "sha256": "a" * 64}, blind=False).train()
    swapped = [ANSWERS[1], ANSWERS[0], *ANSWERS[2:]]
    for changes, told in (
        ({"answers": swapped}, f"answer 1 (was {ANSWERS[0]!r}, is {ANSWERS[1]!r})"),
        ({"answers": ANSWERS[:-1]}, f"answers (was {len(ANSWERS)}, is {len(ANSWERS) - 1})"),
        ({"data": {"rows": 9, "sha256": "b" * 64}}, "data: rows (was 8, is 9)."),
        ({"data": {"rows": 8, "sha256": "b" * 64}}, "or data: data."),
        ({"blind": True}, "blind (was False, is True)"),
    ):
        given = {"data": {"rows": 8, "sha256": "a" * 64}, "blind": False} | changes
        with pytest.raises(ValueError, match="trained with other settings or data") as error:
            resume_with(make_trainer, "run", **given).train(resume=True)
        assert told in str(error.value) and "\n" not in str(error.value), told
        assert "another --output, from these weights with --init" in str(error.value)


def test_what_does_not_change_the_result_may_change_on_resume(make_trainer):
    make_trainer("run", epochs=1).train()
    progress = make_trainer("run", epochs=1, workers=1, threads=1, save_every=3).train(resume=True)
    assert progress["epoch"] == 1


def test_a_state_of_an_earlier_version_is_refused(make_trainer, tmp_path):
    make_trainer("run", epochs=1).train()
    (tmp_path / "run" / "last" / "made_from.json").unlink()
    with pytest.raises(ValueError, match=r"doesn't say what it was trained on.*start a new run"):
        make_trainer("run", epochs=1).train(resume=True)
