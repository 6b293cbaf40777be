"""The training loop on Hugging Face accelerate: validation, early stopping, best and last checkpoint, resume."""

import contextlib
import dataclasses
import json
import math
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypedDict, cast

import torch
from torch import Tensor, nn

from valm_core.checkpoints.atomic_files import clear_leftovers, recover_folder, replace_folder, saving, write_text
from valm_core.checkpoints.fingerprints import MADE_FROM_FILE
from valm_core.checkpoints.storage import AnyModel, save_checkpoint
from valm_core.learning.batches import Batches
from valm_core.learning.fine_tuning import SettingsError
from valm_core.learning.optimizer import build_optimizer
from valm_core.learning.resume import check_resume, made_from
from valm_core.learning.training_config import TrainingConfig

LEFT_TO_THE_FILE = (
    "reliability",
    "reliability_by_kind",
    "accuracy_at_coverage",
    "found_by_score",
)  # too long for a line in the terminal


class Progress(TypedDict):
    """How far a run has come, as ``last`` keeps it.

    ``sums`` are the terms of the unfinished epoch in this process, each times its rows; ``best_quality`` is -1 and
    ``best_epoch`` 0 where no epoch was kept yet.
    """

    epoch: int  # finished ones
    batch: int  # of the unfinished epoch
    sums: dict[str, float]
    best_quality: float
    best_epoch: int
    quality_before: float  # training


class Trainer:
    """Trains a model under an objective, validates after every epoch, keeps the best and the last state.

    ``output`` ends up with ``best/`` (the checkpoint with the highest quality, see ``_quality``, on
    the validation rows, but see ``TrainingConfig.accuracy_to_spare``), ``last/`` (everything that
    ``resume`` needs: weights, optimizer, schedule, place in the epoch, random states, and in ``made_from.json`` the
    settings, the answer list and what else the run depends on) and ``metrics.jsonl`` (one line an epoch, every term of
    the loss in it).

    Runs in one process or several (``accelerate launch``): the loss of a batch is the same either way, up to rounding.

    Args:
        objective: a module with the model as ``model``; called with a batch it returns a dataclass of scalar tensors,
            ``total`` among them, which is minimised.
        batches: where the rows come from, see ``Batches``.
        evaluate: model -> metrics with ``accuracy`` in 0..1, and ``quality`` where another figure than that is to
            choose the best epoch; called before the first epoch and after every one, in every process.
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
        from accelerate import Accelerator, DistributedDataParallelKwargs  # imported here: the page doesn't need it

        self.output, self.config, self.evaluate, self.save_best = Path(output), config, evaluate, save_best
        self.batches = batches
        self.made_from = made_from(config, cast(AnyModel, objective.model).answers, depends_on)
        self.accelerator = Accelerator(
            cpu=next(objective.parameters()).device.type == "cpu",
            mixed_precision=choose_precision(config.precision, next(objective.parameters()).device),
            log_with=config.tracker or None,
            project_dir=self.output,
            # Encoders that learn have parts that nothing reads, as BERT's pooler, which no gradient reaches.
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
        torch.manual_seed(config.seed + self.accelerator.process_index)  # dropout differs between processes
        optimizer = build_optimizer(objective, config)
        self.objective, self.optimizer = self.accelerator.prepare(objective, optimizer)
        self.total_steps = config.epochs * math.ceil(len(batches) / config.accumulation_steps)
        # Not prepared: accelerate would step it once a process. It moves with the optimizer's own steps.
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer.optimizer, self._learning_rate_factor)
        self.progress = Progress(epoch=0, batch=0, sums={}, best_quality=-1.0, best_epoch=0, quality_before=0.0)

    @property
    def raw_objective(self) -> nn.Module:
        """The objective without accelerate's wrapping."""
        return self.accelerator.unwrap_model(self.objective)

    @property
    def raw_model(self) -> AnyModel:
        """The model without accelerate's wrapping."""
        return cast(AnyModel, self.raw_objective.model)

    def train(self, resume: bool = False) -> dict[str, Any]:
        """Run to the end or to early stopping.

        Args:
            resume: go on from ``output/last``; the result equals that of an uninterrupted run.

        Returns:
            ``best_quality`` and ``best_epoch`` (from 1), and ``epoch``, the number of epochs run.

        Raises:
            SettingsError: every epoch lost more than ``accuracy_to_spare``.
            ValueError: ``resume`` under other settings, answers or data, see ``check_resume``.
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
            self.progress["quality_before"] = _quality(metrics)
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
            if self._better(_quality(metrics)):
                self.progress |= {"best_quality": _quality(metrics), "best_epoch": self.progress["epoch"]}
                if self.accelerator.is_main_process:
                    with saving(self.output / "best"):
                        self.save_best(self.raw_model, self.output / "best")
            rate = {"learning_rate": self.schedule.get_last_lr()[0], "seconds": round(seconds, 1)}
            self._log({"epoch": self.progress["epoch"], "loss": terms.pop("total")} | terms | rate | metrics)
            self._save_last()
        if self.config.tracker:
            self.accelerator.end_training()
        if not self.progress["best_epoch"]:
            before, spare = self.progress["quality_before"], self.config.accuracy_to_spare
            raise SettingsError(
                f"Every epoch lost more than accuracy_to_spare, {spare}, of the accuracy of {before:.3f} before. "
                "Lower `learning_rate`, or mix in `rehearsal` rows."
            )
        return {name: self.progress[name] for name in ("best_quality", "best_epoch", "epoch")}

    def _better(self, quality: float) -> bool:
        """Whether the epoch that reached this quality is the one to keep so far."""
        if self.config.accuracy_to_spare:
            return quality >= self.progress["quality_before"] - self.config.accuracy_to_spare
        return quality > self.progress["best_quality"]

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
        progress = {name.replace("accuracy", "quality"): value for name, value in state["progress"].items()}  # once so
        self.progress = cast(Progress, progress | {"sums": own["sums"]})
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


def _quality(metrics: dict[str, Any]) -> float:
    """What an epoch is chosen by."""
    return metrics.get("quality", metrics["accuracy"])


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


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_short(part)}" for name, part in value.items()) + "}"
    return str(value)
