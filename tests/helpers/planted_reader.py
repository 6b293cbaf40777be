"""A stand-in for what reads pages: the same lines on every photo, no model, no OCR."""

import numpy as np
from PIL import Image

from valm_core.inputs.page import Line, page_of_lines
from valm_core.tasks.reader import PageAnswer, ReadPage, boxes_of

RECEIPT = [
    Line((0.1, 0.1, 0.9, 0.2), "GOLDEN MARKET SDN BHD 12 JALAN PUTRA"),
    Line((0.1, 0.4, 0.9, 0.5), "DATE 25 12 2018"),
    Line((0.1, 0.7, 0.9, 0.8), "TOTAL 60.30"),
]


class PlantedReader:
    """Reads the same lines on every photo, and answers with their last word; stands for ``MoreModels`` that read."""

    can_read, tasks = True, ()

    def __init__(self, lines=RECEIPT, fault=None):
        self.lines, self.fault = lines, fault
        self.opened, self.asked = 0, []

    def open_page(self, document, number=1):
        """The page of the lines."""
        self.opened += 1
        if self.fault:
            raise self.fault
        return ReadPage(page_of_lines(self.lines), None, Image.new("RGB", (300, 400), "white"))

    def ask_page(self, page, question):
        """Its last word."""
        self.asked.append(question)
        end = len(page.page.words)
        place = boxes_of(page.page, end - 1, end)
        scores = np.zeros(page.page.line_count, dtype=np.float32)
        return PageAnswer(
            question, page.page.words[-1], end - 1, end, place, 0.8, scores, 3.0, "matters", (("25", 0.1),)
        )
