"""The training loop on Hugging Face accelerate: validation, early stopping, best and last checkpoint, resume."""

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from valm_core.config import from_plain_values
from valm_core.files import recover_folder, replace_folder
from valm_core.losses import answer_loss
from valm_core.model import ValmModel

PRECISIONS = ("no", "bf16", "fp16")


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained. Checked on construction.

    Args:
        epochs: passes over the training data at most.
        batch_size: rows in a step of the optimizer, split over ``accumulation_steps``.
        accumulation_steps: how many smaller batches make one step.
        learning_rate: peak value of AdamW (Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101).
        encoder_learning_rate: the same for encoders that learn along.
        weight_decay: for matrices, embeddings included; biases and norms have none.
        warmup_steps: steps of linear rise before the cosine decay to 0.
        label_smoothing: see ``valm_core.losses.answer_loss``.
        gradient_clipping: largest gradient norm.
        early_stopping_patience: validations without a better accuracy before training stops.
        precision: ``no`` (float32), ``bf16`` or ``fp16``.
        threads: CPU threads of torch; 0 leaves torch's own choice.
        seed: of initialisation, order and dropout.
    """

    epochs: int = 10
    batch_size: int = 256
    accumulation_steps: int = 1
    learning_rate: float = 5e-4
    encoder_learning_rate: float = 2e-5
    weight_decay: float = 0.05
    warmup_steps: int = 200
    label_smoothing: float = 0.0
    gradient_clipping: float = 1.0
    early_stopping_patience: int = 3
    precision: str = "bf16"
    threads: int = 0
    seed: int = 0

    def __post_init__(self):
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
        if self.batch_size % self.accumulation_steps:
            raise ValueError(
                f"batch_size {self.batch_size} is no multiple of accumulation_steps {self.accumulation_steps}."
            )
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision is {self.precision!r}; allowed: {', '.join(PRECISIONS)}.")

    @classmethod
    def from_dict(cls, values: dict) -> "TrainingConfig":
        """Build from plain values, refusing unknown names and values of the wrong type."""
        return from_plain_values(cls, values)


class LengthBucketSampler(Sampler[list[int]]):
    """Batches of rows of similar length, in an order that (seed, epoch) decides; little padding, little repetition.

    Rows are shuffled, sorted by length within pools of ``pool`` batches, cut into batches, and these are shuffled.
    """

    def __init__(self, lengths: list[int], batch_size: int, seed: int, pool: int = 20):
        self.lengths = torch.tensor(lengths)
        self.batch_size, self.seed, self.pool = batch_size, seed, pool
        self.epoch = 0

    def __len__(self) -> int:
        return math.ceil(len(self.lengths) / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self.lengths), generator=generator)
        pools = [pool[self.lengths[pool].argsort(stable=True)] for pool in order.split(self.batch_size * self.pool)]
        batches = torch.cat(pools).split(self.batch_size)
        return iter([batches[index].tolist() for index in torch.randperm(len(batches), generator=generator)])


class Trainer:
    """Trains a model, validates after every epoch, keeps the best and the last state.

    ``output`` ends up with ``best/`` (the checkpoint with the highest validation accuracy), ``last/`` (checkpoint plus
    optimizer, schedule and random states, for ``resume``) and ``metrics.jsonl`` (one line an epoch).

    Args:
        model: what to train; its config says which encoders learn.
        training_data: items with ``length`` in ``training_data.lengths``.
        collate: list of items -> dict of tensors: keyword arguments of ``ValmModel.forward``, and ``targets`` [B, A].
        evaluate: model -> metrics with ``accuracy`` in 0..1, called after every epoch.
        config: how to train.
        output: folder to write to.
    """

    def __init__(
        self,
        model: ValmModel,
        training_data: Dataset,
        collate: Callable[[list], dict[str, Tensor]],
        evaluate: Callable[[ValmModel], dict],
        config: TrainingConfig,
        output: str | Path,
    ):
        from accelerate import Accelerator  # imported here: the page doesn't need it

        if len(training_data) == 0:
            raise ValueError("There is no training row. Check the data file and the answer list.")
        self.output, self.config, self.evaluate = Path(output), config, evaluate
        self.accelerator = Accelerator(
            mixed_precision=config.precision, gradient_accumulation_steps=config.accumulation_steps
        )
        micro_batch = config.batch_size // config.accumulation_steps
        self.sampler = LengthBucketSampler(training_data.lengths, micro_batch, config.seed)
        loader = DataLoader(training_data, batch_sampler=self.sampler, collate_fn=collate)
        self.optimizer = torch.optim.AdamW(parameter_groups(model, config), betas=(0.9, 0.98))
        self.model, self.optimizer, self.loader = self.accelerator.prepare(model, self.optimizer, loader)
        self.total_steps = config.epochs * math.ceil(len(self.loader) / config.accumulation_steps)
        # Not prepared: accelerate would step it once a process. It moves with the optimizer's own steps.
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer.optimizer, self._learning_rate_factor)
        self.progress = {"epoch": 0, "best_accuracy": -1.0, "best_epoch": 0}

    @property
    def raw_model(self) -> ValmModel:
        """The model without accelerate's wrapping."""
        return self.accelerator.unwrap_model(self.model)

    def train(self, resume: bool = False) -> dict:
        """Run to the end or to early stopping.

        Args:
            resume: go on from ``output/last``; the result equals that of an uninterrupted run.

        Returns:
            ``best_accuracy`` and ``best_epoch`` (from 1), and ``epoch``, the number of epochs run.
        """
        if resume:
            self._load_last()
        else:
            (self.output / "metrics.jsonl").unlink(missing_ok=True)  # of an earlier run
        while self.progress["epoch"] < self.config.epochs:
            if self.progress["epoch"] - self.progress["best_epoch"] >= self.config.early_stopping_patience:
                self.accelerator.print(f"No better epoch since {self.progress['best_epoch']}: stopping early.")
                break
            start = time.perf_counter()
            loss = self._train_epoch()
            train_seconds = time.perf_counter() - start
            metrics = self.evaluate(self.raw_model)
            self.progress["epoch"] += 1
            better = metrics["accuracy"] > self.progress["best_accuracy"]
            if better:
                self.progress |= {"best_accuracy": metrics["accuracy"], "best_epoch": self.progress["epoch"]}
            if self.accelerator.is_main_process:
                self._log({"epoch": self.progress["epoch"], "loss": loss, "seconds": round(train_seconds, 1)} | metrics)
                if better:
                    self.raw_model.save_pretrained(self.output / "best")
                self._save_last()
            self.accelerator.wait_for_everyone()
        return dict(self.progress)

    def _train_epoch(self) -> float:
        """One pass over the training data; returns the mean loss."""
        from tqdm import tqdm

        self.sampler.epoch = self.progress["epoch"]
        self.model.train()
        total = 0.0
        bar = tqdm(
            self.loader,
            desc=f"epoch {self.progress['epoch'] + 1}/{self.config.epochs}",
            disable=not self.accelerator.is_local_main_process,
            mininterval=1.0,
        )
        for step, batch in enumerate(bar, 1):
            targets = batch.pop("targets")
            with self.accelerator.accumulate(self.model):
                logits = self.model(**batch).logits
                loss = answer_loss(logits, targets, self.config.label_smoothing)
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients:
                    self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.gradient_clipping)
                self.optimizer.step()
                if self.accelerator.sync_gradients:
                    self.schedule.step()
                self.optimizer.zero_grad()
            total += loss.item()
            if not math.isfinite(total):
                raise FloatingPointError(
                    f"The loss is {loss.item()} in step {step} of epoch {self.progress['epoch'] + 1}. The last good "
                    f"checkpoint is in {self.output}. Lower `learning_rate`, or set `precision: no`."
                )
            bar.set_postfix(loss=f"{total / step:.3f}")
        return total / len(self.loader)

    def _learning_rate_factor(self, step: int) -> float:
        """Linear warm-up, then cosine decay to 0."""
        warmup = min(1.0, (step + 1) / max(1, self.config.warmup_steps))
        return warmup * 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.total_steps)))

    def _log(self, row: dict) -> None:
        self.output.mkdir(parents=True, exist_ok=True)
        with (self.output / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.accelerator.print("  ".join(f"{name} {_short(value)}" for name, value in row.items()))

    def _save_last(self) -> None:
        with replace_folder(self.output / "last") as folder:
            self.raw_model.save_pretrained(folder / "model")
            state = {
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "torch_random": torch.get_rng_state(),
                "cuda_random": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
                "progress": self.progress,
                "config": dataclasses.asdict(self.config),
            }
            torch.save(state, folder / "trainer.pt")

    def _load_last(self) -> None:
        folder = recover_folder(self.output / "last")
        if not folder.exists():
            raise FileNotFoundError(f"There is nothing to resume in {self.output}. Start without --resume.")
        state = torch.load(folder / "trainer.pt", weights_only=True, map_location="cpu")
        if state["config"] != dataclasses.asdict(self.config):
            raise ValueError(f"{folder} was trained with other settings; resume with the same ones: {state['config']}")
        saved = ValmModel.from_pretrained(folder / "model")
        self.raw_model.load_stored_state(saved.stored_state(), str(folder))
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["torch_random"])
        if state["cuda_random"]:
            torch.cuda.set_rng_state_all(state["cuda_random"])
        self.progress = state["progress"]


def parameter_groups(model: nn.Module, config: TrainingConfig) -> list[dict]:
    """Split what learns into groups: encoder or not, decayed (matrices) or not (biases, norms)."""
    groups: dict[tuple[bool, bool], list] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            in_encoder = name.startswith(("text_encoder.", "image_encoder."))
            groups.setdefault((in_encoder, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": config.encoder_learning_rate if in_encoder else config.learning_rate,
            "weight_decay": config.weight_decay if decayed else 0.0,
        }
        for (in_encoder, decayed), parameters in groups.items()
    ]


def _short(value) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_short(part)}" for name, part in value.items()) + "}"
    return str(value)
