"""Calibration of an open model: from its probability of an answer as a text to how often such an answer is right."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from valm_core.checkpoints.atomic_files import write_text
from valm_core.outputs import Answer

EDGE = 1e-6  # probabilities are kept this far from 0 and 1, where logits end


@dataclass(frozen=True)
class Calibration:
    """Platt scaling: a probability p becomes σ(slope · logit(p) + intercept) (Platt 1999).

    The order of answers stays, since ``slope`` is above 0. Probabilities of several answers no longer sum to at most 1.

    ``checkpoint_sha256`` and ``prompt`` say whose it is, ``questions`` how many it was fitted on; ``error`` is the
    expected calibration error 0..1 on photos that it was not fitted on, ``error_before`` that without it.

    ``thresholds`` are the least support for the verdicts "matters a little" and "matters", which 3 % and 0.5 % of
    shuffled maps of ``map_questions`` questions reach; ``passing`` is the share of shuffled maps, 0..1, that reach the
    lower threshold of other photos. None where they weren't measured.
    """

    slope: float
    intercept: float
    checkpoint_sha256: str
    prompt: str
    questions: int
    error_before: float
    error: float | None
    thresholds: tuple[float, float] | None = None
    map_questions: int = 0
    passing: float | None = None

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """Probabilities 0..1 of any shape, calibrated."""
        return scaled(probabilities, self.slope, self.intercept)

    def answers(self, answers: tuple[Answer, ...]) -> tuple[Answer, ...]:
        """Answers with calibrated probabilities, in their order."""
        values = self.apply(np.array([answer.probability for answer in answers]))
        return tuple(Answer(answer.text, float(value)) for answer, value in zip(answers, values, strict=True))

    def to_json(self, path: str | Path) -> None:
        """Write it to a file."""
        write_text(Path(path), json.dumps(dataclasses.asdict(self), indent=2) + "\n")


def scaled(probabilities: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """σ(slope · logit(p) + intercept)."""
    kept = np.clip(np.asarray(probabilities, dtype=np.float64), EDGE, 1 - EDGE)
    return 1 / (1 + np.exp(-(slope * np.log(kept / (1 - kept)) + intercept)))


def read_calibration(path: str | Path, facts: dict[str, str | float]) -> Calibration:
    """Read what ``training.calibrate`` wrote.

    Args:
        path: the file.
        facts: of the model that it is for.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no calibration, or that of another model or prompt.
    """
    try:
        calibration = Calibration(**json.loads(Path(path).read_text(encoding="utf-8")))
        numbers = [float(calibration.slope), float(calibration.intercept)]
        if calibration.thresholds is not None:
            little, much = map(float, calibration.thresholds)
            calibration = dataclasses.replace(calibration, thresholds=(little, much))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is no calibration. Write one with python -m training.calibrate.") from error
    if not (np.isfinite(numbers).all() and calibration.slope > 0):
        raise ValueError(f"{path} has slope {calibration.slope}; a number above 0 is needed. Calibrate again.")
    if calibration.thresholds is not None and not 0 < calibration.thresholds[0] <= calibration.thresholds[1] < np.inf:
        raise ValueError(
            f"{path} has thresholds {calibration.thresholds}; two rising numbers above 0 are needed. Calibrate again."
        )
    for name in ("checkpoint_sha256", "prompt"):
        if getattr(calibration, name) != facts.get(name, ""):
            raise ValueError(
                f"{path} belongs to another {name.replace('_sha256', '')}. Calibrate this one: python -m "
                "training.calibrate."
            )
    return calibration
