"""The fusion families as re-rankers: each orders the best 50 that two towers found, over several seeds.

Example:
    python -m training.matching --config training/configs/match.yaml --finder assets/checkpoints/find --seeds 3 \\
        --report runs/matching/report

Each family learns to tell apart captions and photos that the finder takes for alike. What was finished in the run's
output folder is kept, so that the same command goes on after an interruption.
"""

import argparse
import itertools
import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
import yaml
from tqdm import tqdm

from training.datasets.feature_cache import FeatureCache, ModelInputs
from training.datasets.lookalikes import Lookalikes, caption_inputs, nearest_photos
from training.datasets.readers.captioned import CaptionedPhoto, captions_fingerprint, read_train_and_validation
from training.made_from import check_finished, checkpoint_fingerprint, of_settings
from training.measuring.common import as_page, markdown_table, tell_report
from training.measuring.reranking import ABOVE_ALL, first_scores
from training.metrics.recall import RECALL_AT, retrieval_figures
from training.run_config import RunConfig, check_one_process, parse_overrides, read_config
from training.tasks.image_side import FUSED_SETTINGS, encode_once, model_to_train, photo_inputs
from training.tasks.retrieval import encode_photos, encode_texts
from valm_core.checkpoints.atomic_files import write_text
from valm_core.checkpoints.storage import load_retrieval_checkpoint, load_task_checkpoint
from valm_core.commands import ending_in_a_line
from valm_core.config import ValmConfig
from valm_core.devices import choose_device
from valm_core.learning.batches import BucketedBatches
from valm_core.learning.matching import APART, TOGETHER, MatchingObjective, match_scores
from valm_core.learning.trainer import Trainer
from valm_core.learning.training_config import TrainingConfig
from valm_core.model.fusion.families import FUSIONS
from valm_core.model.tasks.classifier import Classifier
from valm_core.model.tasks.retrieval import RetrievalModel
from valm_core.retrieval.reranking import READ_AGAIN

BLOCK = 4  # photos that are told apart at once
EPOCH_PHOTOS = 300  # of the validation photos, whose figures choose the epoch
PAIRS_AT_ONCE = 256
FIGURES = tuple(f"{way}_r{k}" for way in ("search", "annotation") for k in RECALL_AT)
NAMES = {"alone": "by the fusion alone", "sum": "by the sum of both scores"}


@dataclass(frozen=True, eq=False)
class Found:
    """What a finder found: ``scores`` [T, P] of all captions of P photos, and ``own`` [T], each caption's photo."""

    photos: list[CaptionedPhoto]
    texts: list[str]
    own: np.ndarray
    scores: np.ndarray

    @property
    def asked(self) -> np.ndarray:
        """The captions [P] by which photos are looked for: the first of each."""
        return np.unique(self.own, return_index=True)[1]

    def best(self) -> tuple[np.ndarray, np.ndarray]:
        """What is read once more, [T, P] each, True where it is: the best photos of every caption that is asked for,
        and the best captions of every photo."""
        by_text, by_photo = np.zeros(self.scores.shape, dtype=bool), np.zeros(self.scores.shape, dtype=bool)
        photos = np.argsort(-self.scores[self.asked], axis=1, kind="stable")[:, :READ_AGAIN]
        by_text[self.asked[:, None], photos] = True
        by_photo[np.argsort(-self.scores, axis=0, kind="stable")[:READ_AGAIN], np.arange(len(self.photos))] = True
        return by_text, by_photo

    def first(self, count: int) -> "Found":
        """The same of the first ``count`` photos and their captions alone."""
        rows = self.own < count
        texts = [text for text, own in zip(self.texts, self.own, strict=True) if own < count]
        return Found(self.photos[:count], texts, self.own[rows], self.scores[rows][:, :count])

    def figures(self, by_text: np.ndarray, by_photo: np.ndarray) -> dict[str, float]:
        """Recall of photos by the captions asked for, and of captions by photos, each in the order of its scores."""
        search = retrieval_figures(by_text[self.asked], list(range(len(self.photos))))
        annotation = retrieval_figures(by_photo, self.own.tolist())
        return {name: (search if name.startswith("search") else annotation)[name] for name in FIGURES}


def look(finder: RetrievalModel, photos: list[CaptionedPhoto]) -> Found:
    """Let a model find photos among ``photos`` by their captions, and captions by photos."""
    texts = [text for photo in photos for text in photo.captions]
    own = np.array([place for place, photo in enumerate(photos) for _ in photo.captions])
    return Found(photos, texts, own, first_scores(finder, photos, texts))


@torch.no_grad()
def neighbours_by(finder: RetrievalModel, photos: list[CaptionedPhoto]) -> np.ndarray:
    """Of each photo those that the finder takes for alike, see ``nearest_photos``."""
    texts = [text for photo in photos for text in photo.captions]
    own = [place for place, photo in enumerate(photos) for _ in photo.captions]
    vectors = torch.cat([features.vector for _, features in encode_texts(finder, texts)])
    return nearest_photos(vectors.float().cpu(), own, encode_photos(finder, photos).vector.float().cpu())


@torch.no_grad()
def read_pairs(model: Classifier, found: Found, chosen: np.ndarray, features: FeatureCache | None) -> np.ndarray:
    """The log-odds [T, P] that captions and photos belong together, where ``chosen`` [T, P]; 0 elsewhere."""
    model.eval()
    inputs, scores = ModelInputs.of(model), np.zeros(chosen.shape, dtype=np.float32)
    length = np.array([len(text) for text in found.texts])
    texts, photos = np.nonzero(chosen)
    order = np.argsort(length[texts], kind="stable")  # little padding
    for first in tqdm(range(0, len(order), PAIRS_AT_ONCE), desc="matching", unit="batch", leave=False):
        part = order[first : first + PAIRS_AT_ONCE]
        own_texts, text_of = np.unique(texts[part], return_inverse=True)
        own_photos, photo_of = np.unique(photos[part], return_inverse=True)
        batch = caption_inputs([found.texts[place] for place in own_texts], inputs, features)
        cells = model.cells(**photo_inputs(model, [found.photos[place].image for place in own_photos], features))
        values = match_scores(
            model,
            torch.from_numpy(text_of).to(model.device),
            torch.from_numpy(photo_of).to(model.device),
            cells=cells,
            **{name: value.to(model.device) for name, value in batch.items()},
        )
        scores[texts[part], photos[part]] = values.cpu().numpy()
    return scores


def measure(model: Classifier, found: Found, features: FeatureCache | None) -> dict[str, dict[str, float]]:
    """Recall after the best are ordered by the fusion ``alone``, and by the ``sum`` of its log-odds and the finder's
    score, which are both natural logarithms."""
    chosen = found.best()
    read = read_pairs(model, found, chosen[0] | chosen[1], features)
    figures = {}
    for name, share in (("alone", 0.0), ("sum", 1.0)):
        again = read + share * found.scores + ABOVE_ALL
        figures[name] = found.figures(*(np.where(best, again, found.scores) for best in chosen))
    return figures


def train_family(
    run: RunConfig,
    config: ValmConfig,
    training: TrainingConfig,
    photos: list[CaptionedPhoto],
    neighbours: np.ndarray,
    found: Found,
    judged: Found,
    device: torch.device,
) -> dict:
    """Train one family with one seed, and measure its best epoch.

    Args:
        run, config, training: of the run; its ``output`` gets the best checkpoint and the log.
        photos, neighbours: to learn from, see ``Lookalikes``.
        found: what the finished model orders.
        judged: what every epoch is judged by.
        device: to compute on.
    """
    torch.manual_seed(training.seed)
    model = cast(Classifier, model_to_train(run, config, FUSED_SETTINGS, (APART, TOGETHER))).to(device)
    texts = [text for photo in photos for text in photo.captions] + found.texts
    features = encode_once(run, model, [photo.image for photo in photos + found.photos], texts)
    dataset = Lookalikes(photos, neighbours, BLOCK, model, features)
    batches = BucketedBatches(dataset, dataset.collate, training.rows_at_once, training.seed)

    def validate(model: Classifier) -> dict:
        figures = measure(model, judged, features)["sum"]
        return {"accuracy": statistics.mean(figures.values())} | figures

    start = time.perf_counter()
    result = Trainer(MatchingObjective(model, BLOCK), batches, validate, training, run.output).train()
    seconds = round(time.perf_counter() - start)
    best = cast(Classifier, load_task_checkpoint(Path(run.output) / "best", config.task)).to(device)
    learning = sum(part.numel() for part in model.parameters() if part.requires_grad)
    facts = {"seed": training.seed, "seconds": seconds, "learning_parameters": learning}
    return facts | {"best_epoch": result["best_epoch"]} | measure(best, found, features)


def run_study(config: str, finder: str, overrides: dict, seeds: int, command: str, device: torch.device) -> dict:
    """Train every family with every seed where it isn't done yet, and gather their figures on the validation photos.

    Raises:
        ValueError: a finished run in the output folder was made from other settings.
    """
    check_one_process("A study of matching")
    run, _, _ = read_config(config, overrides)
    photos, validation = read_train_and_validation(run.data, run.validation)
    model = load_retrieval_checkpoint(finder).to(device)
    found = look(model, validation)
    judged = found.first(EPOCH_PHOTOS)
    data = {"data": captions_fingerprint(photos), "validation": captions_fingerprint(validation)}
    made_with = {"finder": checkpoint_fingerprint(finder)}
    neighbours = None
    families: dict[str, list[dict]] = {}
    for seed, family in itertools.product(range(seeds), FUSIONS):
        folder = Path(run.output) / family / str(seed)
        settings = overrides | {"fusion": family, "seed": seed, "output": str(folder)}
        if family != "bi_attention":
            settings |= {"similarity": False, "product": False}
        configs = read_config(config, settings)
        done = folder / "figures.json"
        check_finished(folder, done.is_file(), of_settings(*configs, data) | made_with)
        if not done.is_file():
            neighbours = neighbours_by(model, photos) if neighbours is None else neighbours
            write_text(done, json.dumps(train_family(*configs, photos, neighbours, found, judged, device)))
        families.setdefault(family, []).append(json.loads(done.read_text(encoding="utf-8")))
    return {
        "command": command,
        "photos": len(validation),
        "texts": len(found.texts),
        "train_photos": len(photos),
        "found": found.figures(found.scores, found.scores),
        "families": families,
    }


def study_report(study: dict) -> str:
    """The study as Markdown."""
    rows: list[tuple[object, ...]] = [("as found", *(f"{100 * study['found'][figure]:.1f}" for figure in FIGURES))]
    for family, runs in study["families"].items():
        for order, name in NAMES.items():
            values = [[100 * run[order][figure] for run in runs] for figure in FIGURES]
            rows.append((f"`{family}`, {name}", *map(_spread, values)))
    sizes = [
        f"`{family}` {runs[0]['learning_parameters'] / 1e6:.2f} million learning parameters, "
        f"{statistics.mean(run['seconds'] for run in runs) / 60:.1f} minutes a run"
        for family, runs in study["families"].items()
    ]
    seeds = len(next(iter(study["families"].values())))
    ways = {"search": "photos by words", "annotation": "words by photos"}
    return as_page(
        "# The fusion families as re-rankers",
        f"{study['photos']} validation photos. Photos are looked for by the first caption of each, and of "
        f"{study['texts']} captions those of a photo; the best {READ_AGAIN} are ordered again. Each family learned "
        f"from {study['train_photos']} photos, told apart in blocks of {BLOCK} that the finder takes for alike. "
        f"In percent; mean ± standard deviation, seeds: {seeds}. The epoch was chosen on the first {EPOCH_PHOTOS} "
        "of these photos.",
        markdown_table(("", *(f"{ways[way]} R@{k}" for way in ways for k in RECALL_AT)), rows),
        "; ".join(sizes) + ".",
        "Made by:",
        f"    {study['command']}",
    )


def _spread(values: list[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{deviation}"


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="YAML file, or the name of a shipped one")
    parser.add_argument("--finder", required=True, help="folder of a model that finds photos")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each family (default 3)")
    parser.add_argument("--report", required=True, help="where to write the report, without .md or .json")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("settings", nargs="*", metavar="name=value", help="change any setting of the config")
    options = parser.parse_intermixed_args(arguments)
    if options.seeds < 1:
        parser.error(f"--seeds is {options.seeds}; a number above 0 is needed.")
    words = [f"python -m training.matching --config {options.config} --finder {options.finder}"]
    words += [f"--seeds {options.seeds} --report {options.report}", *options.settings]
    with ending_in_a_line(parser, FloatingPointError, yaml.YAMLError, writes=f"{options.report}.json"):
        overrides, device = parse_overrides(options.settings), choose_device(options.device)
        study = run_study(options.config, options.finder, overrides, options.seeds, " ".join(words), device)
        tell_report(study, study_report(study), f"{options.report}.json")


if __name__ == "__main__":
    main()
