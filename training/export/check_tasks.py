"""Does the export of a model that finds or describes photos say what its checkpoint says? On photos with captions."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from training.datasets.readers.captioned import CaptionedPhoto
from training.export.check import export_page, folder_megabytes, note_difference, refuse_another_checkpoint
from valm_core.captions.captioner import Captioner
from valm_core.exported.captioner import OnnxCaptioner
from valm_core.exported.finder import OnnxFinder
from valm_core.outputs import InputError
from valm_core.retrieval.finder import PhotoFinder
from valm_core.retrieval.matching import Finder, PhotoKeys, photo_keys


def compare_finders(checkpoint: str | Path, output: str | Path, runtime: str, photos: list[CaptionedPhoto]) -> dict:
    """Look for every caption of some photos among them, by checkpoint and export.

    Returns:
        ``photos``, ``captions``; ``same_best``, the share of captions for which both find the same photo first;
        ``found``, the share for which that is the caption's own, by ``torch`` and by the ``export``; the greatest
        difference of a number in a photo's or a text's vector, which have length 1, and of a score as an index gives
        it; ``megabytes``. Captions that can't be looked for are left out and counted.

    Raises:
        InputError: a photo can't be used.
        ValueError: the export was made from another checkpoint.
    """
    ours, theirs = PhotoFinder.from_checkpoint(checkpoint, "cpu"), OnnxFinder.from_checkpoint(output)
    refuse_another_checkpoint(checkpoint, output, ours.model.answers, theirs.parts.metadata)
    finders: tuple[Finder, Finder] = ours, theirs
    greatest = {"photo_vectors": 0.0, "text_vectors": 0.0, "scores": 0.0}
    parts: tuple[list[PhotoKeys], list[PhotoKeys]] = ([], [])
    for photo in tqdm(photos, desc="encoding", unit="photo"):
        features = [finder.photo_features([photo.image]) for finder in finders]
        note_difference(greatest, "photo_vectors", *(vectors for vectors, _ in features))
        for kept, found in zip(parts, features, strict=True):
            kept.append(photo_keys(*found))
    keys = [PhotoKeys(*(np.concatenate(part) for part in zip(*map(_arrays, kept), strict=True))) for kept in parts]
    best, own, left_out = [], [], 0
    captions = [(place, text) for place, photo in enumerate(photos) for text in photo.captions]
    for place, text in tqdm(captions, desc="looking for captions", unit="caption"):
        try:
            queries = [finder.encode_words(text) for finder in finders]
        except InputError:
            left_out += 1
            continue
        scores = [finder.scores(query, kept) for finder, query, kept in zip(finders, queries, keys, strict=True)]
        note_difference(greatest, "text_vectors", *(query.vector for query in queries))
        note_difference(greatest, "scores", *scores)
        best.append([int(found.argmax()) for found in scores])
        own.append(place)
    found_first = np.array(best) == np.array(own)[:, None]  # [captions, 2]
    return {
        "format": runtime,
        "photos": len(photos),
        "captions": len(own),
        "left_out": left_out,
        "same_best": float(np.mean([first == second for first, second in best])),
        "found": dict(zip(("torch", "export"), found_first.mean(axis=0).tolist(), strict=True)),
        "greatest_difference": greatest,
        "megabytes": folder_megabytes(output),
    }


def format_finders(report: dict) -> str:
    """The report as Markdown."""
    found, greatest = report["found"], report["greatest_difference"]
    measured = {
        "same best photo": f"{report['same_best']:.1%}",
        "own photo first, by the checkpoint, by the export": f"{found['torch']:.1%}, {found['export']:.1%}",
        "greatest difference of a number in a photo's vector": f"{greatest['photo_vectors']:.1e}",
        "of a number in a text's vector": f"{greatest['text_vectors']:.1e}",
        "of a score, from an index's rounded numbers": f"{greatest['scores']:.1e}",
    }
    return export_page(report, f"{report['captions']} captions, looked for among {report['photos']} photos", measured)


def compare_captioners(checkpoint: str | Path, output: str | Path, runtime: str, photos: list[CaptionedPhoto]) -> dict:
    """Describe photos by checkpoint and export, with three beams.

    Returns:
        ``photos``; ``same_text``, the share of photos that both describe alike; of their words ``same_verdict``, the
        share with the same verdict, and the greatest difference of a probability and of a map's cell; the greatest
        difference of the log-probability of a caption that people wrote; ``megabytes``.

    Raises:
        InputError: a photo or caption can't be used.
        ValueError: the export was made from another checkpoint.
    """
    describers = Captioner.from_checkpoint(checkpoint, "cpu"), OnnxCaptioner.from_checkpoint(output)
    ours, theirs = describers
    refuse_another_checkpoint(checkpoint, output, ours.model.answers, theirs.parts.metadata)
    greatest = {"log_probabilities": 0.0, "probabilities": 0.0, "maps": 0.0}
    same_text, same_verdict = [], []
    for photo in tqdm(photos, desc="describing", unit="photo"):
        likely = [describer.log_probabilities(photo.captions, photo.image) for describer in describers]
        note_difference(greatest, "log_probabilities", *likely)
        first, second = (describer.describe(photo.image) for describer in describers)
        same_text.append(first.text == second.text)
        if not same_text[-1]:
            continue
        note_difference(greatest, "maps", first.maps, second.maps)
        for word, again in zip(first.words, second.words, strict=True):
            note_difference(greatest, "probabilities", word.probability, again.probability)
            same_verdict.append(word.verdict == again.verdict)
    return {
        "format": runtime,
        "photos": len(photos),
        "captions": sum(len(photo.captions) for photo in photos),
        "same_text": float(np.mean(same_text)),
        "words": len(same_verdict),
        "same_verdict": float(np.mean(same_verdict)) if same_verdict else None,
        "greatest_difference": greatest,
        "megabytes": folder_megabytes(output),
    }


def format_captioners(report: dict) -> str:
    """The report as Markdown."""
    greatest, verdicts = report["greatest_difference"], report["same_verdict"]
    measured = {
        "same sentence": f"{report['same_text']:.1%}",
        f"same verdict, of {report['words']} words": "–" if verdicts is None else f"{verdicts:.1%}",
        "greatest difference of a word's probability": f"{greatest['probabilities']:.1e}",
        "of a cell of a word's map": f"{greatest['maps']:.1e}",
        f"of the log-probability of a caption, of {report['captions']}": f"{greatest['log_probabilities']:.1e}",
    }
    return export_page(report, f"{report['photos']} photos, with three beams", measured)


def _arrays(keys: PhotoKeys) -> tuple[np.ndarray, np.ndarray]:
    return keys.vectors, keys.cells
