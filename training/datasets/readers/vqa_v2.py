"""Rows of VQA v2 (and v1) from the official files of visualqa.org, with all ten answers a question."""

from collections.abc import Iterator
from pathlib import Path

from training.datasets.readers.jsonl import DataError, Row, existing_photo, located, text_of
from valm_core.inputs.text import parse_json, read_text

FORM = "vqa_v2:QUESTIONS.json,ANNOTATIONS.json,IMAGE_FOLDER"


def scan_vqa_v2(source: str, photos: bool = True) -> Iterator[tuple[str, Row | DataError]]:
    """Read an official pair of files, e.g. ``v2_OpenEnded_mscoco_train2014_questions.json`` and
    ``v2_mscoco_train2014_annotations.json``, with COCO's photos ``COCO_train2014_000000000009.jpg``.
    The format: https://visualqa.org/download.html (Goyal et al. 2017, https://arxiv.org/abs/1612.00837).

    Args:
        source: ``QUESTIONS.json,ANNOTATIONS.json,IMAGE_FOLDER``.
        photos: whether every row must have a photo. Without, the folder is ignored.

    Yields:
        (file and question number, row or its fault), in the order of the questions.

    Raises:
        DataError: the source has another form, or a file is missing or not of the official form.
    """
    parts = [part.strip() for part in source.split(",")]
    if len(parts) != 3 or not all(parts):
        raise DataError(f"'vqa_v2:{source}' names {sum(map(bool, parts))} paths; three are needed: {FORM}")
    question_file, annotation_file, folder = (Path(part) for part in parts)
    if photos and not folder.is_dir():
        raise DataError(f"There is no folder of photos {folder}. Check the last path of {FORM}")
    official = _read(question_file, "questions")
    subtype = official.get("data_subtype")
    if photos and not isinstance(subtype, str):
        raise DataError(
            f"{question_file}: `data_subtype` is {subtype!r}; e.g. 'train2014' is needed to find the photos."
        )
    annotations: dict[int, dict] = {}
    for number, annotation in enumerate(_read(annotation_file, "annotations")["annotations"]):
        question_id = annotation.get("question_id") if isinstance(annotation, dict) else None
        if type(question_id) is not int:
            yield _fault(f"{annotation_file}: annotation number {number}", f"`question_id` is {question_id!r}")
        elif question_id in annotations:
            yield _fault(f"{annotation_file}: question {question_id}", "it is annotated twice; leave one")
        else:
            annotations[question_id] = annotation
    asked = set()

    def row(question: dict) -> Row:
        question_id = _number(question, "question_id")
        if question_id in asked:
            raise ValueError("this `question_id` occurs twice; leave one")
        asked.add(question_id)
        if question_id not in annotations:
            raise ValueError(f"{annotation_file} has no annotation of it; give the annotations of the same split")
        annotation = annotations[question_id]
        image_id = _number(question, "image_id")
        if annotation.get("image_id", image_id) != image_id:
            raise ValueError(
                f"`image_id` is {image_id}, but {annotation['image_id']!r} in {annotation_file}; "
                "give the annotations of the same split"
            )
        name = f"COCO_{subtype}_{image_id:012}.jpg"
        image = existing_photo(folder / name, "unpack all photos of the split there") if photos else None
        return Row(image, text_of(question, "question"), _answers(annotation, annotation_file), source="vqa_v2")

    for number, question in enumerate(official["questions"]):
        named = isinstance(question, dict) and "question_id" in question
        place = f"question {question['question_id']}" if named else f"question number {number}"
        yield located(f"{question_file}: {place}", row, question)
    for question_id in annotations.keys() - asked:
        yield _fault(
            f"{annotation_file}: question {question_id}",
            f"{question_file} doesn't ask it; give files of the same split",
        )


def _read(path: Path, name: str) -> dict:
    """An official file whose list ``name`` isn't empty."""
    if not path.is_file():
        raise DataError(f"There is no file of {name} {path}. Check the path; the form is {FORM}")
    try:
        content = parse_json(read_text(path))
    except ValueError as error:  # no UTF-8 text is a ValueError too
        raise DataError(f"{path} is not valid JSON ({error}). Unpack the official file again.") from error
    if not isinstance(content, dict) or not isinstance(content.get(name), list) or not content[name]:
        raise DataError(f"{path} holds no list `{name}`. The order of the files is {FORM}")
    return content


def _fault(place: str, fault: str) -> tuple[str, DataError]:
    return place, DataError(f"{place}: {fault}")


def _number(values: dict, name: str) -> int:
    value = values.get(name) if isinstance(values, dict) else None
    if type(value) is not int or value < 0:
        raise ValueError(f"`{name}` is {value!r}; a whole number is needed")
    return value


def _answers(annotation: dict, file: Path) -> tuple[str, ...]:
    answers = annotation.get("answers")
    if not isinstance(answers, list) or not answers:
        raise ValueError(f"`answers` is {answers!r} in {file}; a list of people's answers is needed")
    return tuple(text_of(answer, "answer") for answer in answers)
