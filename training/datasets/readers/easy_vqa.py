"""Rows of easy-VQA, small drawings of one shape each, from the PyPI package `easy-vqa` (MIT licence)."""

from collections.abc import Iterator
from pathlib import Path

from training.datasets.readers.jsonl import DataError, Row, located

SPLITS = ("train", "test")


def scan_easy_vqa(split: str, photos: bool = True) -> Iterator[tuple[str, Row | DataError]]:
    """Read the official split: 4,000 drawings with 38,575 questions to train on, 1,000 with 9,673 to test; 13 answers.
    See https://github.com/vzhou842/easy-VQA.

    Args:
        split: ``train`` or ``test``.
        photos: whether to name the drawings. Without, rows have no image.

    Yields:
        (split and number of the question, row or its fault), in order.

    Raises:
        DataError: an unknown split, or the package is not installed.
    """
    if split not in SPLITS:
        allowed = ", ".join(f"easy-vqa:{name}" for name in SPLITS)
        raise DataError(f"easy-vqa has no split {split!r}; allowed: {allowed}.")
    try:
        import easy_vqa  # imported here: 40 MB that only this data set needs
    except ImportError as error:
        raise DataError(f"easy-vqa:{split} needs the package easy-vqa. Run: pip install easy-vqa") from error
    train = split == "train"
    questions, answers, images = easy_vqa.get_train_questions() if train else easy_vqa.get_test_questions()
    paths = easy_vqa.get_train_image_paths() if train else easy_vqa.get_test_image_paths()

    def row(question: str, answer: str, image: int) -> Row:
        if image not in paths:
            raise ValueError(f"there is no drawing {image}; run pip install --force-reinstall easy-vqa")
        return Row(Path(paths[image]) if photos else None, question, (answer,), source="easy_vqa")

    for number, values in enumerate(zip(questions, answers, images, strict=True), 1):
        yield located(f"easy-vqa:{split}:{number}", row, *values)
