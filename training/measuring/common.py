"""What the commands that measure share: their options, the model, the sample, the report as Markdown and its files."""

import argparse
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from training.datasets.feature_cache import read_pixels
from valm_core.checkpoints.atomic_files import write_text
from valm_core.checkpoints.storage import load_checkpoint
from valm_core.devices import choose_device
from valm_core.explanations import EXPLANATION_METHODS
from valm_core.method_names import DEFAULT_METHOD
from valm_core.model.model import ValmModel
from valm_core.outputs import EncodedImage, EncodedText, Explanation

Drawn = TypeVar("Drawn")
COMPARED = tuple(dict.fromkeys(("raw_attention", DEFAULT_METHOD)))  # methods whose maps of single words are measured


def add_measuring_options(parser: argparse.ArgumentParser, report: str) -> None:
    """``--checkpoint``, ``--report`` (with ``report`` as its help), ``--threads`` and ``--device``."""
    parser.add_argument("--checkpoint", required=True, help="folder of a trained model")
    parser.add_argument("--report", help=report)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves torch's own choice")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")


def load_model(options: argparse.Namespace) -> ValmModel:
    """The checkpoint on its device, with as many threads as asked. Raises what ``load_checkpoint`` does."""
    if options.threads:
        torch.set_num_threads(options.threads)
    return load_checkpoint(options.checkpoint).to(choose_device(options.device))


def sample(rows: list[Drawn], limit: int, seed: int) -> list[Drawn]:
    """At most ``limit`` rows, the same ones every time."""
    return random.Random(seed).sample(rows, min(limit, len(rows)))


@dataclass(frozen=True)
class Asked:
    """A question about a photo as explanation methods take it: both encoded, and the place of the likeliest answer.

    ``pixels`` [3, S, S] in 0..1 are the photo's.
    """

    text: EncodedText
    image: EncodedImage
    answer: int
    pixels: Tensor


@torch.no_grad()
def encode_and_answer(model: ValmModel, photo: Path, question: str) -> Asked:
    """Encode a question and a photo, and answer."""
    text = model.encode_question(*(part.to(model.device) for part in model.tokenizer([question], True)))
    pixels = read_pixels(model, photo).to(model.device)
    image = model.encode_image(pixels[None])
    logits = model(text_tokens=text.tokens, text_mask=text.mask, image_tokens=image.tokens).logits[0]
    return Asked(text, image, int(logits.argmax()), pixels)


@torch.no_grad()
def explain(model: ValmModel, photo: Path, question: str) -> dict[str, Explanation]:
    """What each of the ``COMPARED`` methods says of the model's own answer, over the question's word pieces."""
    asked = encode_and_answer(model, photo, question)
    return {name: EXPLANATION_METHODS[name](model, asked.text, asked.image, asked.answer) for name in COMPARED}


def words_of(model: ValmModel, question: str) -> tuple[tuple[str, ...], tuple[int | None, ...]]:
    """The question's words and for each of its tokens the word, as ``QuestionTokenizer.words``, cut where it is cut."""
    words, token_words = model.tokenizer.words(question)
    longest = model.tokenizer.max_tokens
    return words, token_words if len(token_words) <= longest else (*token_words[: longest - 1], token_words[-1])


def data_name(path: str) -> str:
    """The last two parts of a path: enough to know the data set, nothing about the machine."""
    return "/".join(path.replace("\\", "/").split("/")[-2:])


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown, a cell a value."""
    lines = ["".join(f"| {cell} " if cell != "" else "| " for cell in row) + "|" for row in (heads, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(heads), *lines[1:]])


def as_page(*paragraphs: str) -> str:
    """Paragraphs, tables and headings as a page of Markdown."""
    return "\n\n".join(paragraphs) + "\n"


def tell_report(report: dict, text: str, path: str | None) -> None:
    """Print ``text``, and where a path was asked for write the report there, see ``write_report``."""
    print(text)
    if path:
        write_report(path, report, text)


def write_report(path: str | Path, report: dict, text: str) -> None:
    """``report`` as the JSON file ``path``, and beside it ``text`` as .md."""
    path = Path(path)
    write_text(path, json.dumps(report, indent=1) + "\n")
    write_text(path.with_suffix(".md"), text)
