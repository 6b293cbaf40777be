"""Small data that tests write for themselves."""

import io
import json
import sqlite3
import tarfile
from pathlib import Path

from PIL import Image

ANSWERS = ["red", "green", "blue", "yellow", "yes", "no"]  # of the tiny model


def write_rows(path: Path, rows: list[dict]) -> Path:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_vqa_v2(folder: Path, photos: list[int], answers: list[list[str]], subtype: str = "train2014") -> str:
    """Write questions 10, 11, ... in VQA v2's official form, with their photos.

    Args:
        folder: gets questions.json, annotations.json and a folder of photos; it is made.
        photos: COCO's number of each question's photo.
        answers: what people answered to each question.

    Returns:
        The source, as `load_rows` takes it.
    """
    (folder / "photos").mkdir(parents=True)
    questions, annotations = [], []
    for question_id, (photo, given) in enumerate(zip(photos, answers, strict=True), 10):
        Image.new("RGB", (40, 30), (220, 30, 30)).save(folder / "photos" / f"COCO_{subtype}_{photo:012}.jpg")
        ids = {"question_id": question_id, "image_id": photo}
        questions.append(ids | {"question": "what color is the square?"})
        people = [
            {"answer": answer, "answer_confidence": "yes", "answer_id": person}
            for person, answer in enumerate(given, 1)
        ]
        kinds = {"question_type": "what color is the", "answer_type": "other", "multiple_choice_answer": given[0]}
        annotations.append(ids | kinds | {"answers": people})
    common = {"info": {"version": "2.0"}, "license": {}, "data_type": "mscoco", "data_subtype": subtype}
    task = {"task_type": "Open-Ended", "questions": questions}
    (folder / "questions.json").write_text(json.dumps(common | task), encoding="utf-8")
    (folder / "annotations.json").write_text(json.dumps(common | {"annotations": annotations}), encoding="utf-8")
    return f"vqa_v2:{folder / 'questions.json'},{folder / 'annotations.json'},{folder / 'photos'}"


def age_corrections(database: Path, days: int, answer: str = "%") -> str:
    """Make the corrections with this right answer (all, unless told) so many days older; the day they are from now."""
    connection = sqlite3.connect(database)
    with connection:
        connection.execute(
            "UPDATE corrections SET time = datetime('now', ?) WHERE right_answer LIKE ?", (f"-{days} days", answer)
        )
    day = connection.execute("SELECT date(min(time)) FROM corrections").fetchone()[0]
    connection.close()
    return day


def write_tar(path: Path, rows) -> None:
    """Write rows with a photo each as a WebDataset shard."""
    files = {}
    for number, row in enumerate(rows):
        files[f"{number}.png"] = row.image.read_bytes()
        files[f"{number}.json"] = json.dumps({"question": row.question, "answer": row.answers[0]}).encode()
    write_files(path, files)


def write_files(path: Path, files: dict[str, bytes]) -> None:
    """Write files into a tar, in their order."""
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def write_parquet(path: Path, rows) -> None:
    """Write rows with a photo each as a Parquet shard."""
    import datasets

    columns = {
        "image": [{"bytes": row.image.read_bytes(), "path": None} for row in rows],
        "question": [row.question for row in rows],
        "answers": [list(row.answers) for row in rows],
    }
    datasets.Dataset.from_dict(columns).to_parquet(path)
