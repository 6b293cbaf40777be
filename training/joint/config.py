"""How long, how fast and with which weights joint training learns."""

import dataclasses
import math
from dataclasses import dataclass

from valm_core.config import BELOW_1, check_numbers


@dataclass(frozen=True)
class JointConfig:
    """How long, how fast and with which weights. Checked on construction.

    Args:
        question_seconds, seconds: of the first stage, questions alone, and of the second; 0 leaves the stage out.
        question_steps, steps: the same in steps; where it isn't 0 it decides and the seconds don't.
        photos: in a step.
        blind: questions without photos in a step; twice as many in the first stage.
        photo_side: of the squares that photos are kept as, pixels.
        side: of the square that training crops to, pixels.
        learning_rate, backbone_learning_rate, text_learning_rate: peaks; ``question_learning_rate`` that of the text
            encoder in the first stage.
        concept_weight: λ_v.
        caption_weight, region_weight: the parts of λ_a.
        function_weight: of the penalty on reading by function words.
        distinct_weight: of the penalty on words with the same map.
        label_smoothing: as usual.
        weight_decay: of the second stage.
        average: of the running mean of the weights, a step.
        question_rows, presence_rows, color_rows, fill_in_rows, caption_rows: questions a photo at most: of people and
            of each kind that is made.
        workers: processes that open photos; 0 for none.
        seed: of everything drawn.

    Raises:
        ValueError: a value is outside what is allowed.
    """

    question_seconds: float = 30.0
    seconds: float = 330.0
    question_steps: int = 0
    steps: int = 0
    photos: int = 192
    blind: int = 512
    photo_side: int = 208
    side: int = 192
    learning_rate: float = 1e-3
    backbone_learning_rate: float = 2e-4
    text_learning_rate: float = 4e-5
    question_learning_rate: float = 2e-4
    concept_weight: float = 0.05
    caption_weight: float = 0.3
    region_weight: float = 0.2
    function_weight: float = 0.1
    distinct_weight: float = 0.1
    label_smoothing: float = 0.05
    weight_decay: float = 0.05
    average: float = 0.998
    question_rows: int = 5
    presence_rows: int = 2
    color_rows: int = 1
    fill_in_rows: int = 2
    caption_rows: int = 2
    workers: int = 2
    seed: int = 0

    def __post_init__(self):
        least = {"photos": 2, "blind": 2, "photo_side": 16, "side": 16, "question_rows": 1}
        names = [field.name for field in dataclasses.fields(self)]
        check_numbers(self, **{name: (least.get(name, 0), math.inf) for name in names})
        check_numbers(self, label_smoothing=(0, BELOW_1), average=(0, BELOW_1))
        if not self.steps and not self.seconds:
            raise ValueError("seconds and steps are both 0, so that nothing would be learned; set one of them.")

    @property
    def rows(self) -> tuple[int, int, int, int, int]:
        """Questions a photo at most, by the groups of ``JointBatches.by_photo``."""
        return self.question_rows, self.presence_rows, self.color_rows, self.fill_in_rows, self.caption_rows
