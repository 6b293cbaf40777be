"""TrainingConfig: how a model is trained."""

import math
from dataclasses import dataclass

from valm_core.config import ABOVE_0, BELOW_1, check_choices, check_numbers
from valm_core.learning.fine_tuning import parse_fine_tuning

PRECISIONS = ("auto", "no", "bf16", "fp16")
OPTIMIZERS = ("adamw", "sgd")
SGD_MOMENTUM = 0.9
SCHEDULES = ("cosine", "linear", "constant")
TRACKERS = ("", "tensorboard")


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
        label_balance: for tasks with labels, how far rare labels count more, see ``learning.classifying``: 0 not, 1 as
            much as common ones.
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
    label_balance: float = 0.0
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
        from_1, from_0, above_0 = (1, math.inf), (0, math.inf), (ABOVE_0, math.inf)
        check_numbers(
            self,
            epochs=from_1,
            batch_size=from_1,
            accumulation_steps=from_1,
            early_stopping_patience=from_1,
            learning_rate=above_0,
            gradient_clipping=above_0,
            visual_weight=from_0,
            alignment_weight=from_0,
            weight_decay=from_0,
            label_balance=from_0,
            head_learning_rate=from_0,
            encoder_learning_rate=from_0,
            warmup_steps=from_0,
            accuracy_to_spare=from_0,
            save_every=from_0,
            workers=from_0,
            threads=from_0,
            label_smoothing=(0, BELOW_1),
        )
        check_choices(self, precision=PRECISIONS, optimizer=OPTIMIZERS, schedule=SCHEDULES, tracker=TRACKERS)
        if self.batch_size % self.accumulation_steps:
            raise ValueError(
                f"batch_size {self.batch_size} is no multiple of accumulation_steps {self.accumulation_steps}."
            )

    @property
    def rows_at_once(self) -> int:
        """Rows of one batch: ``accumulation_steps`` of them make a step of ``batch_size`` rows."""
        return self.batch_size // self.accumulation_steps
