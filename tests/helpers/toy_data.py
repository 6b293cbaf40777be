"""Small data that tests write for themselves."""

import io
import json
import sqlite3
import tarfile
from pathlib import Path

import torch
import yaml
from PIL import Image

ANSWERS = ["red", "green", "blue", "yellow", "yes", "no"]  # of the tiny model
COLORS = {"red": (220, 30, 30), "green": (30, 180, 30), "blue": (40, 60, 220), "yellow": (230, 220, 40)}


def write_rows(path: Path, rows: list[dict]) -> Path:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_colored_squares(folder: Path) -> Path:
    """A JSON lines file with one photo a color and two questions each: its color, and whether there is any red."""
    rows = []
    for name, color in COLORS.items():
        Image.new("RGB", (40, 30), color).save(folder / f"{name}.png")
        choices = [name, *(other for other in COLORS if other != name)]
        is_red = "yes" if name == "red" else "no"
        rows += [
            {
                "image": f"{name}.png",
                "question": "what color is the square?",
                "answer": name,
                "choices": choices,
                "source": "colors",
            },
            {"image": f"{name}.png", "question": "is there any red?", "answer": is_red, "source": "red"},
        ]
    return write_rows(folder / "rows.jsonl", rows)


def write_config(folder: Path, model, data: Path) -> Path:
    """A short run's config file; it validates on the data it learns from, output and cache lie in the folder.

    Args:
        folder: gets config.yaml.
        model: a ``ValmConfig``.
        data: a data file.
    """
    names = ["text_encoder", "image_encoder", "image_size", "width", "layers", "heads"]
    places = {"data": str(data), "validation": str(data), "output": str(folder / "run"), "cache": str(folder / "cache")}
    sections = {
        "run": places | {"answers": 10},
        "model": {name: getattr(model, name) for name in names} | {"dropout": 0.0},
        "training": {"epochs": 3, "batch_size": 8, "learning_rate": 0.01, "warmup_steps": 2, "precision": "no"},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(sections), encoding="utf-8")
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


def write_joint_data(folder: Path) -> dict:
    """Write what joint training reads: 28 photos of one color, on half of which a man holds a ball, on half a dog lies.

    Men stand in the left half of their photos, and one question says so of the first. Two more photos have captions
    alone.

    Returns:
        The config's section ``data``.
    """
    colors = {"red": (220, 30, 30), "green": (30, 180, 30), "blue": (40, 60, 220), "yellow": (230, 220, 40)}
    captions, boxes, questions = folder / "captions", [], []
    for place in (folder / "squares", folder / "more", captions):
        place.mkdir(parents=True)
    described = []
    for number in range(28):
        color = list(colors)[number % 4]
        name, image = f"{number:02}.png", f"squares/{number:02}.png"
        Image.new("RGB", (40, 30), colors[color]).save(folder / image)
        said = f"a man holds a {color} ball." if number < 14 else f"a dog is on a {color} box."
        described.append({"image": image, "captions": [said], "split": "train", "source": "people"})
        if number < 14:
            box = [0.25, 0.5, 0.4, 0.8, 17]  # middle, size, key points
            boxes.append({"image": image, "persons_cx_cy_w_h_keypoints": [box], "split": "train"})
        red = "yes" if color == "red" else "no"
        questions += [
            {"image": name, "question": "what color is the square?", "answer": color, "source": "colors"},
            {"image": name, "question": "is there any red?", "answers": [red, red, "yes"], "source": "vqa_v2_yes_no"},
        ]
    questions.append({"image": "00.png", "question": "is the man on the left?", "answer": "yes", "source": "vqa_v1"})
    described.append({"image": "squares/01.png", "captions": ["a zebra."], "split": "validation", "source": "people"})
    captioned = []
    for name in ("a.png", "b.png"):
        Image.new("RGB", (30, 30), colors["blue"]).save(folder / "more" / name)
        captioned.append({"image": name, "captions": ["a blue ball is on the grass."]})
    machine = {"captions": ["a horse."], "split": "train"}
    unsure, sure = ({"image": f"squares/{place}.png", "conf": conf} for place, conf in (("02", 0.1), ("03", 0.9)))
    write_rows(folder / "squares" / "train.jsonl", questions)
    write_rows(folder / "more" / "train.jsonl", captioned)
    write_rows(captions / "captions_human.jsonl", described)
    write_rows(captions / "captions_machine.jsonl", [machine | unsure, machine | sure])
    write_rows(captions / "captions_no_photo.jsonl", [{"coco_id": 1, "captions": ["a green dog and a yellow ball."]}])
    tags = [["sky", 0.9], ["tree", 0.2]]
    write_rows(captions / "tags_machine.jsonl", [{"image": "squares/04.png", "tags": tags, "split": "train"}])
    write_rows(captions / "person_boxes.jsonl", boxes)
    texts = [{"question": f"is the square {color}?", "answers": {"yes": 7, "no": 3}} for color in colors]
    write_rows(folder / "texts.jsonl", texts)
    return {
        "questions": [str(folder / "squares")],
        "captions": str(captions),
        "captioned": [str(folder / "more")],
        "texts": [str(folder / "texts.jsonl")],
        "left_out": ["squares/27.png"],
        "answers": 8,
    }


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


def inputs_of(model) -> dict:
    """Two questions about two photos of noise, as the inputs of a tiny model."""
    generator = torch.Generator().manual_seed(0)
    ids, mask = model.tokenizer(["what color is the square?", "is there any red?"])
    return {"token_ids": ids, "text_mask": mask, "pixels": torch.rand(2, 3, 32, 32, generator=generator)}
