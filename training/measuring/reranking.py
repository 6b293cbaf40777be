"""Whether the model that describes photos orders better what was found by words: recall before and after.

Example:
    python -m training.reranking --checkpoint assets/checkpoints/find --captioner assets/checkpoints/describe \\
        --data ../shared/data/flickr8k/validation.jsonl --report docs/reports/accuracy/reranking.json
"""

import argparse
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from training.datasets.readers.captioned import CaptionedPhoto, read_captioned_photos
from training.measuring.common import add_measuring_options, as_page, data_name, markdown_table, tell_report
from training.metrics.recall import RECALL_AT, retrieval_figures
from training.tasks.image_side import photo_inputs
from training.tasks.retrieval import RANKING_BATCH, encode_photos, encode_texts
from valm_core.captions.captioner import Captioner
from valm_core.checkpoints.storage import load_caption_checkpoint, load_retrieval_checkpoint
from valm_core.commands import ending_in_a_line
from valm_core.devices import choose_device
from valm_core.model.tasks.captioner import CaptionModel
from valm_core.model.tasks.retrieval import RetrievalModel, TextFeatures, pair_scores
from valm_core.retrieval.reranking import READ_AGAIN

ABOVE_ALL = 1e6  # added to the scores of what is read once more, so that nothing else comes before it


@torch.no_grad()
def first_scores(model: RetrievalModel, photos: list[CaptionedPhoto], texts: list[str]) -> np.ndarray:
    """The scores [T, P] of texts and photos, by which photos are found."""
    encoded, rows = encode_photos(model, photos), []
    for _, found in encode_texts(model, texts):
        for first in range(0, len(found.vector), RANKING_BATCH):
            part = slice(first, first + RANKING_BATCH)
            some = TextFeatures(found.vector[part], found.words[part], found.shares[part])
            rows.append(pair_scores(model, some, encoded).float().cpu())
    return torch.cat(rows).numpy()


@torch.no_grad()
def read_closely(model: CaptionModel, photos: list[CaptionedPhoto], texts: list[str], scores: np.ndarray) -> np.ndarray:
    """The scores [T, P]; a text's log-probability and ``ABOVE_ALL`` are added to those of its best photos."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :READ_AGAIN]  # [T, 50]
    read, captioner = scores.astype(np.float64), Captioner(model, model.device)
    for place in tqdm(range(len(photos)), desc="reading photos", unit="photo"):
        asking = np.flatnonzero((best == place).any(axis=1))
        cells = model.encode_photos(**photo_inputs(model, [photos[place].image], None)) if len(asking) else ()
        for first in range(0, len(asking), RANKING_BATCH):
            part = asking[first : first + RANKING_BATCH]
            likely = captioner.log_probabilities_of([texts[text] for text in part], cells)
            read[part, place] += ABOVE_ALL + likely.astype(np.float64)
    return read


def measure(finder: RetrievalModel, captioner: CaptionModel, photos: list[CaptionedPhoto], count: int) -> dict:
    """Recall of the search for photos by the first ``count`` captions of each, before and after the best are read."""
    texts = [text for photo in photos for text in photo.captions[:count]]
    own = [place for place, photo in enumerate(photos) for _ in photo.captions[:count]]
    scores = first_scores(finder, photos, texts)
    report: dict[str, Any] = {"photos": len(photos), "texts": len(texts), "read_again": READ_AGAIN}
    for name, ordered in (("before", scores), ("after", read_closely(captioner, photos, texts, scores))):
        figures = retrieval_figures(ordered, own)
        report[name] = {f"r{k}": figures[f"search_r{k}"] for k in RECALL_AT} | {"median_rank": figures["median_rank"]}
    return report


def format_reranking(report: dict) -> str:
    """The report as Markdown."""
    rows = [
        (name, *(f"{100 * report[key][f'r{k}']:.1f} %" for k in RECALL_AT), f"{report[key]['median_rank']:.0f}")
        for key, name in (("before", "as found"), ("after", f"the best {report['read_again']} read once more"))
    ]
    return as_page(
        "# Photos by words, read once more",
        f"{report['texts']} captions, each looked for among {report['photos']} photos. The model that describes photos "
        "says how likely it is to write the caption of each; the logarithm is added to the score. Nothing was fitted.",
        markdown_table(("", *(f"R@{k}" for k in RECALL_AT), "median rank"), rows),
        "Made by",
        f"    {report['command']}",
    )


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_measuring_options(parser, "write this JSON file, and beside it the same as .md")
    parser.add_argument("--captioner", required=True, help="folder of a model that describes photos")
    parser.add_argument(
        "--data",
        required=True,
        help="JSON lines file of photos with captions; of rows with a `split` those of validation",
    )
    parser.add_argument("--captions", type=int, default=1, help="captions of each photo to look for (default 1)")
    options = parser.parse_args(arguments)
    if options.captions < 1:
        parser.error(f"--captions is {options.captions}; a number above 0 is needed.")
    with ending_in_a_line(parser, writes=options.report):
        if options.threads:
            torch.set_num_threads(options.threads)
        device = choose_device(options.device)
        photos = read_captioned_photos(options.data, "validation")
        finder = load_retrieval_checkpoint(options.checkpoint).to(device)
        captioner = load_caption_checkpoint(options.captioner).to(device)
        command = (
            f"python -m training.reranking --checkpoint {options.checkpoint} --captioner {options.captioner} "
            f"--data {data_name(options.data)} --captions {options.captions}"
        )
        report = {"command": command} | measure(finder, captioner, photos, options.captions)
        tell_report(report, format_reranking(report), options.report)


if __name__ == "__main__":
    main()
