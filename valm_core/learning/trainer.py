"""The training loop on Hugging Face accelerate: validation, early stopping, best and last checkpoint, resume."""

import contextlib
import dataclasses
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypedDict, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from valm_core.checkpoints.atomic_files import clear_leftovers, recover_folder, replace_folder, saving, write_text
from valm_core.checkpoints.fingerprints import MADE_FROM_FILE, check_same, read_json
from valm_core.checkpoints.storage import save_checkpoint
from valm_core.config import from_plain_values
from valm_core.learning.fine_tuning import parse_fine_tuning
from valm_core.model.adapters import is_adapter
from valm_core.model.model import ValmModel

PRECISIONS = ("auto", "no", "bf16", "fp16")
OPTIMIZERS = ("adamw", "sgd")
SGD_MOMENTUM = 0.9
SCHEDULES = ("cosine", "linear", "constant")
TRACKERS = ("", "tensorboard")
# May differ when a run is resumed: how it computes and what it keeps, not what comes out.
FREE_ON_RESUME = ("workers", "threads", "tracker", "save_every")
LEFT_TO_THE_FILE = (
    "reliability",
    "reliability_by_kind",
    "accuracy_at_coverage",
    "found_by_score",
)  # too long for a line in the terminal


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained. Checked on construction.

    Args:
        epochs: passes over the training data at most.
        batch_size: rows in a step of the optimizer, over all processes and ``accumulation_steps``.
        accumulation_steps: how many smaller batches make one step.
        optimizer: ``adamw`` (Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101) or ``sgd``, with momentum.
        learning_rate: peak value, for the fusion and all that isn't named below.
        head_learning_rate: the same for the answer head; 0 means ``learning_rate``.
        encoder_learning_rate: the same for encoders that learn along; not for adapters in them.
        group_photos: put a photo's questions into one batch: much faster where the image encoder learns.
        schedule: after the warm-up ``cosine`` or ``linear`` decay to 0, or ``constant``.
        warmup_steps: steps of linear rise.
        weight_decay: for matrices, embeddings included; biases and norms have none.
        visual_weight, alignment_weight: λ_v and λ_a, see ``valm_core.learning.losses.AnswerObjective``.
        label_smoothing: see ``valm_core.learning.losses.answer_loss``.
        gradient_clipping: largest gradient norm.
        early_stopping_patience: validations without a better accuracy before training stops.
        accuracy_to_spare: 0 keeps the epoch with the best validation accuracy. Above 0, in 0..1, the last epoch is kept
            that lost no more than that of the accuracy before training: for rows whose gain the validation rows
            don't show, such as a few corrections.
        save_every: steps between two saves of ``last`` within an epoch; 0 saves after epochs only.
        precision: ``no`` (float32), ``bf16``, ``fp16``, or ``auto``: the fastest that the hardware has instructions
            for. Without them bf16 on a CPU is some 80 times slower than float32.
        tracker: ``tensorboard`` logs to ``<output>/tensorboard``, empty doesn't.
        workers: processes that open photos ahead of the model; 0 opens them in between.
        threads: CPU threads of torch; 0 leaves torch's own choice.
        seed: of initialisation, order and dropout.
        fine_tuning: which parts learn, see ``valm_core.learning.fine_tuning``.
    """

    epochs: int = 10
    batch_size: int = 256
    accumulation_steps: int = 1
    group_photos: bool = False
    optimizer: str = "adamw"
    learning_rate: float = 5e-4
    head_learning_rate: float = 0.0
    encoder_learning_rate: float = 2e-5
    schedule: str = "cosine"
    warmup_steps: int = 200
    weight_decay: float = 0.05
    visual_weight: float = 0.0
    alignment_weight: float = 0.0
    label_smoothing: float = 0.0
    gradient_clipping: float = 1.0
    early_stopping_patience: int = 3
    accuracy_to_spare: float = 0.0
    save_every: int = 0
    precision: str = "auto"
    tracker: str = ""
    workers: int = 0
    threads: int = 0
    seed: int = 0
    fine_tuning: str = "frozen"

    def __post_init__(self) -> None:
        parse_fine_tuning(self.fine_tuning)
        for name in (
            "epochs",
            "batch_size",
            "accumulation_steps",
            "learning_rate",
            "gradient_clipping",
            "early_stopping_patience",
        ):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)!r}; a number above 0 is needed.")
        for name in (
            "visual_weight",
            "alignment_weight",
            "weight_decay",
            "head_learning_rate",
            "accuracy_to_spare",
            "save_every",
            "workers",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)!r}; a number of at least 0 is needed.")
        if self.batch_size % self.accumulation_steps:
            raise ValueError(
                f"batch_size {self.batch_size} is no multiple of accumulation_steps {self.accumulation_steps}."
            )
        for name, allowed in (
            ("precision", PRECISIONS),
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("tracker", TRACKERS),
        ):
            if getattr(self, name) not in allowed:
                listed = ", ".join(value or '""' for value in allowed)
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed: {listed}.")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainingConfig":
        """Build from plain values, refusing unknown names and values of the wrong type."""
        return from_plain_values(cls, values)


class LengthBucketSampler(Sampler[list[int]]):
    """Batches of rows of similar length, in an order that (seed, epoch) decides; little padding, little repetition.

    Rows are shuffled, sorted by length within pools of ``pool`` batches, cut into batches, and these are shuffled. With
    ``photo_ids`` (equal where rows share a photo) a photo's rows stay together instead, so that an image encoder that
    learns sees each photo about once an epoch and not once a question.
    """

    def __init__(
        self, lengths: Sequence[int], batch_size: int, seed: int, pool: int = 20, photo_ids: list[int] | None = None
    ):
        self.lengths = torch.tensor(lengths)
        self.photo_ids = None if photo_ids is None else torch.tensor(photo_ids)
        self.batch_size, self.seed, self.pool = batch_size, seed, pool
        self.epoch = 0

    def __len__(self) -> int:
        return math.ceil(len(self.lengths) / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self.lengths), generator=generator)
        if self.photo_ids is not None:
            turn = torch.randperm(int(self.photo_ids.max()) + 1, generator=generator)[self.photo_ids]  # of each row
            return iter([batch.tolist() for batch in order[turn[order].argsort(stable=True)].split(self.batch_size)])
        pools = [pool[self.lengths[pool].argsort(stable=True)] for pool in order.split(self.batch_size * self.pool)]
        batches = torch.cat(pools).split(self.batch_size)
        return iter([batches[index].tolist() for index in torch.randperm(len(batches), generator=generator)])


class RowsWithLengths(Protocol):
    """Rows 0..len of a data set, each with its length in ``lengths``."""

    @property
    def lengths(self) -> Sequence[int]:
        """The length of each row, in tokens."""

    def __len__(self) -> int:
        """How many rows."""

    def __getitem__(self, index: int) -> Any:
        """A row, as ``collate`` takes it."""


class Batches(Protocol):
    """Where the trainer gets its rows from, epoch by epoch: a data set cut into batches, or a stream."""

    rows: int

    def __len__(self) -> int:
        """Batches in an epoch."""

    def epoch(self, epoch: int, first: int, rank: int, processes: int) -> Iterator[tuple[int, int, dict[str, Tensor]]]:
        """From batch ``first`` on: rows in the whole batch, rows of this process, and its share of the batch."""


class BucketedBatches:
    """A data set as batches.

    Every process takes its share of each batch: rows ``rank``, ``rank + processes``, ...

    Args:
        data: items 0..len, with a length each in ``data.lengths``.
        collate: list of items -> dict of tensors, the arguments of the objective.
        batch_size: rows in a batch, over all processes.
        seed: of the order.
        workers: processes that collate ahead.
        photo_ids: keep rows with the same number together, see ``LengthBucketSampler``.
    """

    def __init__(
        self,
        data: RowsWithLengths,
        collate: Callable[[list[Any]], dict[str, Tensor]],
        batch_size: int,
        seed: int,
        workers: int = 0,
        photo_ids: list[int] | None = None,
    ):
        if len(data) == 0:
            raise ValueError("There is no training row. Check the data file and the answer list.")
        self.data, self.collate, self.workers = data, collate, workers
        self.sampler = LengthBucketSampler(data.lengths, batch_size, seed, photo_ids=photo_ids)
        self.rows = len(data)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.sampler)

    def epoch(self, epoch: int, first: int, rank: int, processes: int) -> Iterator[tuple[int, int, dict[str, Tensor]]]:
        """From batch ``first`` on: rows in the whole batch, rows of this process, and its share of the batch."""
        self.sampler.epoch = epoch
        batches = list(self.sampler)[first:]
        shares = [batch[rank::processes] or batch[:1] for batch in batches]
        loader = DataLoader(
            cast(Dataset[Any], self.data),
            batch_sampler=shares,
            collate_fn=self._collate,
            num_workers=self.workers,
            generator=torch.Generator(),  # or a resumed epoch would draw a number that an uninterrupted one doesn't
        )
        for batch, collated in zip(batches, loader, strict=True):
            if isinstance(collated, Exception):
                raise collated
            yield len(batch), len(batch[rank::processes]), collated

    def _collate(self, items: list[Any]) -> dict[str, Tensor] | Exception:
        """The batch, or what is wrong with it: raised in a worker, the message would end up inside a traceback."""
        try:
            return self.collate(items)
        except (OSError, ValueError) as error:
            return error


class Progress(TypedDict):
    """How far a run has come, as ``last`` keeps it.

    ``sums`` are the terms of the unfinished epoch in this process, each times its rows; ``best_accuracy`` is -1 and
    ``best_epoch`` 0 where no epoch was kept yet.
    """

    epoch: int  # finished ones
    batch: int  # of the unfinished epoch
    sums: dict[str, float]
    best_accuracy: float
    best_epoch: int
    accuracy_before: float  # training


class Trainer:
    """Trains a model under an objective, validates after every epoch, keeps the best and the last state.

    ``output`` ends up with ``best/`` (the checkpoint with the highest validation accuracy, but see
    ``TrainingConfig.accuracy_to_spare``), ``last/`` (everything that
    ``resume`` needs: weights, optimizer, schedule, place in the epoch, random states, and in ``made_from.json`` the
    settings, the answer list and what else the run depends on) and ``metrics.jsonl`` (one line an epoch, every term of
    the loss in it).

    Runs in one process or several (``accelerate launch``): the loss of a batch is the same either way, up to rounding.

    Args:
        objective: a module with the model as ``model``; called with a batch it returns a dataclass of scalar tensors,
            ``total`` among them, which is minimised.
        batches: where the rows come from, see ``Batches``.
        evaluate: model -> metrics with ``accuracy`` in 0..1, called before the first epoch and after every one, in
            every process.
        config: how to train.
        output: folder to write to.
        save_best: how to write a model into a folder; ``save_checkpoint`` unless told otherwise.
        depends_on: what else a resumed run must share with the one that it goes on with, by name: plain values or
            fingerprints of data.
    """

    def __init__(
        self,
        objective: nn.Module,
        batches: Batches,
        evaluate: Callable[[Any], dict[str, Any]],
        config: TrainingConfig,
        output: str | Path,
        save_best: Callable[[Any, Path], None] = save_checkpoint,
        depends_on: Mapping[str, object] | None = None,
    ):
        from accelerate import Accelerator  # imported here: the page doesn't need it

        self.output, self.config, self.evaluate, self.save_best = Path(output), config, evaluate, save_best
        self.batches = batches
        self.made_from = made_from(config, cast(ValmModel, objective.model).answers, depends_on)
        self.accelerator = Accelerator(
            cpu=next(objective.parameters()).device.type == "cpu",
            mixed_precision=choose_precision(config.precision, next(objective.parameters()).device),
            log_with=config.tracker or None,
            project_dir=self.output,
        )
        torch.manual_seed(config.seed + self.accelerator.process_index)  # dropout differs between processes
        optimizer = build_optimizer(objective, config)
        self.objective, self.optimizer = self.accelerator.prepare(objective, optimizer)
        self.total_steps = config.epochs * math.ceil(len(batches) / config.accumulation_steps)
        # Not prepared: accelerate would step it once a process. It moves with the optimizer's own steps.
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer.optimizer, self._learning_rate_factor)
        self.progress = Progress(epoch=0, batch=0, sums={}, best_accuracy=-1.0, best_epoch=0, accuracy_before=0.0)

    @property
    def raw_objective(self) -> nn.Module:
        """The objective without accelerate's wrapping."""
        return self.accelerator.unwrap_model(self.objective)

    @property
    def raw_model(self) -> ValmModel:
        """The model without accelerate's wrapping."""
        return cast(ValmModel, self.raw_objective.model)

    def train(self, resume: bool = False) -> dict[str, Any]:
        """Run to the end or to early stopping.

        Args:
            resume: go on from ``output/last``; the result equals that of an uninterrupted run.

        Returns:
            ``best_accuracy`` and ``best_epoch`` (from 1), and ``epoch``, the number of epochs run.

        Raises:
            ValueError: every epoch lost more than ``accuracy_to_spare``, or ``resume`` under other settings, answers
                or data, see ``check_resume``.
            FloatingPointError: the loss is no longer a number; the last good state lies in ``output``.
            OSError: a state could not be written; the one before is whole.
        """
        if self.config.tracker:
            self.accelerator.init_trackers(self.config.tracker)
        if self.accelerator.is_main_process:
            for name in ("last", "best"):  # what a killed process left
                recover_folder(self.output / name)
                clear_leftovers(self.output / name)
        self.accelerator.wait_for_everyone()
        if resume:
            self._load_last()
        else:
            if self.accelerator.is_main_process:
                self._forget_earlier_run()
            metrics = self.evaluate(self.raw_model)
            self.progress["accuracy_before"] = metrics["accuracy"]
            self._log({"epoch": 0} | metrics)
        while self.progress["epoch"] < self.config.epochs:
            if self.progress["epoch"] - self.progress["best_epoch"] >= self.config.early_stopping_patience:
                spare = self.config.accuracy_to_spare
                better = f"epoch within accuracy_to_spare, {spare}," if spare else "better epoch"
                self.accelerator.print(f"No {better} since {self.progress['best_epoch']}: stopping early.")
                break
            start = time.perf_counter()
            terms = self._train_epoch()
            seconds = time.perf_counter() - start
            metrics = self.evaluate(self.raw_model)
            self.progress |= {"epoch": self.progress["epoch"] + 1, "batch": 0, "sums": {}}
            if self._better(metrics["accuracy"]):
                self.progress |= {"best_accuracy": metrics["accuracy"], "best_epoch": self.progress["epoch"]}
                if self.accelerator.is_main_process:
                    with saving(self.output / "best"):
                        self.save_best(self.raw_model, self.output / "best")
            rate = {"learning_rate": self.schedule.get_last_lr()[0], "seconds": round(seconds, 1)}
            self._log({"epoch": self.progress["epoch"], "loss": terms.pop("total")} | terms | rate | metrics)
            self._save_last()
        if self.config.tracker:
            self.accelerator.end_training()
        if not self.progress["best_epoch"]:
            before, spare = self.progress["accuracy_before"], self.config.accuracy_to_spare
            raise ValueError(
                f"Every epoch lost more than accuracy_to_spare, {spare}, of the accuracy of {before:.3f} before. "
                "Lower `learning_rate`, or mix in `rehearsal` rows."
            )
        return {name: self.progress[name] for name in ("best_accuracy", "best_epoch", "epoch")}

    def _better(self, accuracy: float) -> bool:
        """Whether the epoch that reached this validation accuracy is the one to keep so far."""
        if self.config.accuracy_to_spare:
            return accuracy >= self.progress["accuracy_before"] - self.config.accuracy_to_spare
        return accuracy > self.progress["best_accuracy"]

    def _train_epoch(self) -> dict[str, float]:
        """One pass over the training data, or what is left of it; returns the mean of every term."""
        from tqdm import tqdm

        accelerator, config, progress = self.accelerator, self.config, self.progress
        rank, processes = accelerator.process_index, accelerator.num_processes
        self.objective.train()
        bar = tqdm(
            total=self.batches.rows,
            initial=min(self.batches.rows, progress["batch"] * config.batch_size // config.accumulation_steps),
            desc=f"epoch {progress['epoch'] + 1}/{config.epochs}",
            unit="row",
            disable=not accelerator.is_local_main_process,
            mininterval=1.0,
        )
        batches = self.batches.epoch(progress["epoch"], progress["batch"], rank, processes)
        group_rows = 0  # of the batches that make up one step
        with bar:  # an error begins on a line of its own
            for rows, own_rows, batch in batches:
                progress["batch"] += 1
                group_rows += rows
                at_end = progress["batch"] == len(self.batches)
                group_end = progress["batch"] % config.accumulation_steps == 0 or at_end
                batch = {name: value.to(accelerator.device) for name, value in batch.items()}
                with contextlib.nullcontext() if group_end else accelerator.no_sync(self.objective):
                    terms = self.objective(**batch)
                    # Processes average their gradients: so weighted, that is the sum over all rows / batch_size.
                    accelerator.backward(terms.total * (own_rows * processes / config.batch_size))
                if group_end:
                    if group_rows != config.batch_size:  # a step with fewer rows: from the sum to its own mean
                        self._scale_gradients(config.batch_size / group_rows)
                    group_rows = 0
                    accelerator.clip_grad_norm_(self.objective.parameters(), config.gradient_clipping)
                    self.optimizer.step()
                    if not self.optimizer.step_was_skipped:
                        self.schedule.step()
                    self.optimizer.zero_grad()
                names = [field.name for field in dataclasses.fields(terms)]
                values = torch.stack([getattr(terms, name).detach().float() for name in names]).tolist()
                for name, value in zip(names, values, strict=True):
                    progress["sums"][name] = progress["sums"].get(name, 0.0) + value * own_rows
                loss = values[names.index("total")]
                if not math.isfinite(loss):
                    raise FloatingPointError(
                        f"The loss is {loss} in batch {progress['batch']} of epoch {progress['epoch'] + 1}. "
                        f"The last good state is in {self.output}. Lower `learning_rate`, or set `precision: no`."
                    )
                bar.update(rows)
                bar.set_postfix(loss=f"{loss:.3f}")
                if config.tracker and group_end:
                    terms_now = {f"train/{name}": value for name, value in zip(names, values, strict=True)}
                    accelerator.log(terms_now, step=self.schedule.last_epoch)
                if config.save_every and group_end and self.schedule.last_epoch % config.save_every == 0 and not at_end:
                    self._save_last()
        sums = torch.tensor(list(progress["sums"].values()), device=accelerator.device)
        means = accelerator.reduce(sums, "sum") / self.batches.rows
        return dict(zip(progress["sums"], means.tolist(), strict=True))

    def _scale_gradients(self, factor: float) -> None:
        for parameter in self.objective.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(factor)

    def _learning_rate_factor(self, step: int) -> float:
        """Linear warm-up, then the schedule's decay."""
        warmup = min(1.0, (step + 1) / max(1, self.config.warmup_steps))
        done = min(1.0, step / self.total_steps)
        decay = {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1.0}
        return warmup * decay[self.config.schedule]

    def _log(self, row: dict[str, Any]) -> None:
        """Write a line of metrics.jsonl and print it; numbers go to the tracker too."""
        if not self.accelerator.is_main_process:
            return
        path = self.output / "metrics.jsonl"
        with saving(path):
            self.output.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        shown = {name: value for name, value in row.items() if name not in LEFT_TO_THE_FILE}
        self.accelerator.print("  ".join(f"{name} {_short(value)}" for name, value in shown.items()))
        if self.config.tracker:
            numbers = {f"epoch/{name}": value for name, value in row.items() if isinstance(value, int | float)}
            self.accelerator.log(numbers, step=self.schedule.last_epoch)

    def _save_last(self) -> None:
        from accelerate.utils import gather_object

        own_states = gather_object([_random_state() | {"sums": self.progress["sums"]}])
        if not self.accelerator.is_main_process:
            return
        with saving(self.output / "last"), replace_folder(self.output / "last") as folder:
            state = {
                "weights": trained_state(self.raw_objective),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler else {},
                "processes": own_states,
                "progress": self.progress,
            }
            torch.save(state, folder / "trainer.pt")
            (folder / MADE_FROM_FILE).write_text(json.dumps(self.made_from) + "\n", encoding="utf-8")

    def _load_last(self) -> None:
        check_resume(self.output, self.made_from)
        folder = self.output / "last"
        state = torch.load(folder / "trainer.pt", weights_only=True, map_location="cpu")
        if len(state["processes"]) != self.accelerator.num_processes:
            raise ValueError(f"{folder} was trained in {len(state['processes'])} processes; resume with as many.")
        missing = trained_state(self.raw_objective).keys() ^ state["weights"].keys()
        if missing:
            raise ValueError(f"{folder} holds another model: {', '.join(sorted(missing)[:5])} don't fit. Start afresh.")
        self.raw_objective.load_state_dict(state["weights"], strict=False)
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        own = state["processes"][self.accelerator.process_index]
        _set_random_state(own)
        self.progress = state["progress"] | {"sums": own["sums"]}
        self._drop_later_metrics()

    def _drop_later_metrics(self) -> None:
        """A run killed between its log line and its state repeats that epoch: the line would be there twice."""
        path = self.output / "metrics.jsonl"
        if self.accelerator.is_main_process and path.exists():
            numbered = ((line, _epoch_of(line)) for line in path.read_text(encoding="utf-8").splitlines())
            lines = [(line, epoch) for line, epoch in numbered if epoch is not None]
            kept = [line for line, epoch in lines if epoch <= self.progress["epoch"]]
            with saving(path):
                write_text(path, "".join(f"{line}\n" for line in kept))

    def _forget_earlier_run(self) -> None:
        """Or a kill before this run's first state would leave that of another run to resume from."""
        shutil.rmtree(self.output / "last", ignore_errors=True)
        (self.output / "metrics.jsonl").unlink(missing_ok=True)


def made_from(
    config: TrainingConfig, answers: list[str], depends_on: Mapping[str, object] | None = None
) -> dict[str, Any]:
    """What the state of a run depends on, as JSON keeps it: settings, the answer list, and what else is given."""
    settings = {name: value for name, value in dataclasses.asdict(config).items() if name not in FREE_ON_RESUME}
    return {"settings": settings, "answers": list(answers), "depends_on": dict(depends_on or {})}


def check_resume(output: str | Path, now: dict[str, Any]) -> None:
    """Refuse to go on with a run under other settings, answers or data: its weights would be read as something else.

    Args:
        output: folder of the run.
        now: what ``made_from`` gives today.

    Raises:
        FileNotFoundError: there is nothing to resume.
        ValueError: in one line, what differs and how to go on.
    """
    folder = Path(output) / "last"
    if not folder.exists():
        raise FileNotFoundError(f"There is nothing to resume in {output}. Start without --resume.")
    go_on = "Resume with the same ones, or start a new run in another --output" + (
        f", from these weights with --init {Path(output) / 'best'}." if (Path(output) / "best").exists() else "."
    )
    stored = read_json(folder / MADE_FROM_FILE) if (folder / MADE_FROM_FILE).is_file() else None
    if not isinstance(stored, dict) or not now.keys() <= stored.keys():
        raise ValueError(f"{folder} doesn't say what it was trained on (an earlier version wrote it). {go_on}")
    parts = {}
    for state, values in (("stored", stored), ("now", now)):
        answers = {f"answer {place}": answer for place, answer in enumerate(values["answers"], 1)}
        parts[state] = {**values["settings"], **values["depends_on"], "answers": len(answers), **answers}
    check_same(f"{folder} was trained with other settings or data:", parts["stored"], parts["now"], go_on)


def choose_precision(name: str, device: torch.device) -> str:
    """``auto`` as what ``device`` computes fast: bf16 or fp16 on CUDA, bf16 on CPUs that can, else ``no``.

    Raises:
        ValueError: fp16 on a CPU, where accelerate would quietly compute in float32.
    """
    if name == "fp16" and device.type == "cpu":
        raise ValueError("precision is 'fp16', which needs a GPU; allowed on a CPU: auto, no, bf16. Set `precision`.")
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    fast = (
        device.type == "cpu" and torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
    return "bf16" if fast else "no"


def _epoch_of(line: str) -> int | None:
    """The epoch of a line of metrics.jsonl; None for a line that a kill cut off."""
    try:
        return json.loads(line)["epoch"]
    except json.JSONDecodeError:
        return None


def trained_state(objective: nn.Module) -> dict[str, Tensor]:
    """All tensors of an objective but those that can't change: of encoders in which nothing learns."""
    frozen = tuple(
        f"model.{name}."
        for name in ("text_encoder", "image_encoder")
        if not any(parameter.requires_grad for parameter in getattr(objective.model, name).parameters())
    )
    return {name: value for name, value in objective.state_dict().items() if not name.startswith(frozen)}


def _random_state() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"torch": torch.get_rng_state(), "cuda": cuda}


def _set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])


def build_optimizer(objective: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW or SGD over what learns, with the learning rates and the weight decay of the config."""
    groups = parameter_groups(objective, config)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=SGD_MOMENTUM)
    return torch.optim.AdamW(groups, betas=(0.9, 0.98))


def parameter_groups(objective: nn.Module, config: TrainingConfig) -> list[dict[str, Any]]:
    """Split what learns into groups: encoders, answer head or the rest, decayed (matrices) or not (biases, norms).

    Adapters belong to the rest wherever they sit: they start afresh and need more than an encoder's small steps.
    """
    rates = {"encoder": config.encoder_learning_rate, "head": config.head_learning_rate, "fusion": config.learning_rate}
    groups: dict[tuple[str, bool], list[Any]] = {}
    for name, parameter in objective.named_parameters():
        if parameter.requires_grad:
            part = name.removeprefix("model.")
            in_encoder = part.startswith(("text_encoder.", "image_encoder.")) and not is_adapter(name)
            kind = "head" if part.startswith("head.") else "encoder" if in_encoder else "fusion"
            decayed = parameter.ndim > 1 and ".ia3_l." not in name  # a factor that decays would switch its layer off
            groups.setdefault((kind, decayed), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": rates[kind] or config.learning_rate,
            "weight_decay": config.weight_decay if decayed else 0.0,
        }
        for (kind, decayed), parameters in groups.items()
    ]


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_short(part)}" for name, part in value.items()) + "}"
    return str(value)
