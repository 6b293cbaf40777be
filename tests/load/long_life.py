"""Thousands of questions in one process: does memory grow, do open files?"""

import gc
from dataclasses import dataclass

import psutil
from hostile.photos import PICTURE
from load.drive import QUESTIONS

from demo.rendering.answers import result_html
from demo.rendering.map import map_html
from demo.rendering.overlay import Look
from demo.visit import asking
from valm_core.method_names import METHOD_NAMES

QUICK = ("raw_attention", "attention_rollout", "grad_cam", "gradient_relevancy")


@dataclass(frozen=True)
class Life:
    """Memory in MB and open files after the first questions and at the end."""

    questions: int
    megabytes_early: float
    megabytes_late: float
    files_early: int
    files_late: int

    @property
    def growth(self) -> float:
        """Growth of memory as a share of what it was early."""
        return self.megabytes_late / self.megabytes_early - 1


def live(predictor, questions: int, early: int) -> Life:
    """Ask and explain again and again, by turns with every quick method, and draw what the page draws.

    Args:
        predictor: a predictor.
        questions: how many.
        early: after how many the first measure is taken: caches are full by then.
    """
    process = psutil.Process()
    photo = asking.OpenedPhoto("", PICTURE, predictor.encode(PICTURE))
    measures = []
    for number in range(questions + 1):
        if number in (early, questions):
            gc.collect()
            measures.append((process.memory_info().rss / 2**20, process.num_fds()))
        if number % 10 == 0:  # another photo now and then
            picture = PICTURE.rotate(number % 360)
            photo = asking.OpenedPhoto(str(number), picture, predictor.encode(picture))
        question = QUESTIONS[number % len(QUESTIONS)]
        prediction = predictor.answer(photo.encoded, question)
        method = QUICK[number % len(QUICK)]
        assert method in METHOD_NAMES
        explanation = predictor.explain(photo.encoded, question, method)
        result_html(prediction)
        map_html(photo.picture, explanation, (0,), (), Look())
    (early_memory, early_files), (late_memory, late_files) = measures
    return Life(questions, early_memory, late_memory, early_files, late_files)
