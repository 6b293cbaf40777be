"""What joint training learns from, as flat arrays in one file: questions, captions, concepts and boxes of photos."""

import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from training.datasets.generated_questions import (
    PhotoTexts,
    color_questions,
    fill_in_questions,
    noun_ancestors,
    presence_questions,
)
from training.datasets.jsonl import Row
from training.datasets.questions import answer_index, build_answer_list
from training.datasets.word_forms import FUNCTION_WORDS, base_form, content_words
from training.metrics.vqa_accuracy import normalize_answer

# Kinds of rows: what is asked, and whether yes and no are as likely before the photo is seen.
OPEN, YES_NO, BALANCED, PRESENCE, COLOR, FILL_IN = range(6)
PERSON_WORDS = frozenset(
    [
        "man",
        "woman",
        "person",
        "people",
        "boy",
        "girl",
        "men",
        "women",
        "boys",
        "girls",
        "guy",
        "lady",
        "child",
        "children",
        "kid",
        "kids",
    ]
)
MOST_BOXES = 12
FEWEST_CONFIDENCE, FEWEST_TAG_CONFIDENCE = 0.3, 0.6  # of a captioner, of a tagger


def read_json_lines(path: str | Path) -> list[dict]:
    """The objects of a JSON lines file, plain or gzipped."""
    path = str(path)
    with gzip.open(path, "rt", encoding="utf-8") if path.endswith(".gz") else open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


class TextTable:
    """Texts as token ids, each once; with the tokens that are function words and those that name persons."""

    def __init__(self, tokenizer):
        self.tokenizer, self.places = tokenizer, {}

    def place(self, text: str) -> int:
        """The number of a text, a new one for a new text."""
        return self.places.setdefault(text, len(self.places))

    def arrays(self, most_tokens: int = 40) -> dict[str, np.ndarray]:
        """``text_ids`` [sum of T], ``text_starts`` [texts + 1], ``text_function`` and ``text_person`` [sum of T]."""
        ids, starts, function, person = [], [0], [], []
        texts = list(self.places)
        for first in range(0, len(texts), 10_000):
            part = texts[first : first + 10_000]
            encoded = self.tokenizer(part, return_offsets_mapping=True, truncation=True, max_length=most_tokens)
            for text, row, offsets in zip(part, encoded["input_ids"], encoded["offset_mapping"], strict=True):
                for token, (begin, end) in zip(row, offsets, strict=True):
                    while begin > 0 and text[begin - 1].isalpha():
                        begin -= 1
                    while end < len(text) and text[end].isalpha():
                        end += 1
                    word = text[begin:end].lower()
                    ids.append(token)
                    function.append(begin == end or word in FUNCTION_WORDS or not any(map(str.isalnum, word)))
                    person.append(word in PERSON_WORDS)
                starts.append(len(ids))
        return {
            "text_ids": np.array(ids, np.int32),
            "text_starts": np.array(starts, np.int64),
            "text_function": np.array(function, np.uint8),
            "text_person": np.array(person, np.uint8),
        }


def joint_data(sources: dict, tokenizer, answers: int, concepts: int, seed: int = 0) -> dict:
    """Everything as arrays and lists, see ``training.train_joint``.

    Args:
        sources: ``questions``: folders with train.jsonl and photos; ``captions``: folder with captions_*.jsonl, tags and
            boxes, whose paths are relative to the folder above it; ``captioned``: folders whose train.jsonl has
            captions; ``texts``: files of questions without photos; ``left_out``: photos to leave out.
        tokenizer: of the text encoder.
        answers, concepts: how many.
        seed: of what is drawn.
    """
    left_out = set(sources.get("left_out", ()))
    rows: list[tuple[str, Row]] = []
    for folder in map(Path, sources["questions"]):
        for line in read_json_lines(folder / "train.jsonl"):
            photo = f"{folder.name}/{line['image']}"
            given = tuple(line.get("answers") or [line["answer"]])
            if photo not in left_out:
                rows.append((photo, Row(None, line["question"], given, source=line["source"])))
    answer_list = build_answer_list([row for _, row in rows], answers)
    texts, described = photo_texts(rows, sources)
    sentences = [caption for one in texts.values() for caption in one.captions]
    alone = read_json_lines(Path(sources["captions"]) / "captions_no_photo.jsonl")
    sentences += [caption for line in alone for caption in line["captions"]]

    table, index = TextTable(tokenizer), answer_index(answer_list)
    photos = sorted(texts)
    number = {photo: place for place, photo in enumerate(photos)}
    asked = RowTable(table, index)
    for photo, row in rows:
        asked.add(row.question, row.answers, kind_of(row), number[photo])
    generated = presence_questions(texts, sentences, seed)
    for photo, question, answer in generated:
        asked.add(question, (answer,), PRESENCE, number[photo])
    for photo, question, answer in color_questions(texts, seed):
        asked.add(question, (answer,), PRESENCE if answer in ("yes", "no") else COLOR, number[photo])
    for photo, question, answer in fill_in_questions(texts, answer_list, seed=seed):
        asked.add(question, (answer,), FILL_IN, number[photo])
    blind = RowTable(table, index)
    for file in sources["texts"]:
        for line in read_json_lines(file):
            counts = line.get("answer_counts") or line.get("answers")
            given = tuple(a for a, n in counts.items() for _ in range(n)) if isinstance(counts, dict) else None
            given = given or tuple(counts or [line["answer"]])
            row = Row(None, line["question"], given, source="vqa_v2" if len(given) > 1 else "vqa_v1")
            blind.add(row.question, row.answers, kind_of(row), -1)
    texts_alone = {str(place): PhotoTexts(captions=tuple(line["captions"])) for place, line in enumerate(alone)}
    for _, question, answer in fill_in_questions(texts_alone, answer_list, 1, seed):
        blind.add(question, (answer,), FILL_IN, -1)
    captions = [(table.place(caption), number[photo]) for photo in photos for caption in texts[photo].captions]

    vocabulary = concept_vocabulary(texts, sentences, concepts)
    labels = concept_labels(texts, photos, described, vocabulary)
    boxes = np.full((len(photos), MOST_BOXES, 4), np.nan, np.float32)
    for line in read_json_lines(Path(sources["captions"]) / "person_boxes.jsonl"):
        if line["image"] in number and line["split"] == "train":
            for place, (x, y, w, h, *_) in enumerate(line["persons_cx_cy_w_h_keypoints"][:MOST_BOXES]):
                boxes[number[line["image"]], place] = x - w / 2, y - h / 2, x + w / 2, y + h / 2
    arrays = table.arrays() | asked.arrays("row") | blind.arrays("blind") | labels
    arrays |= {"captions": np.array(captions, np.int32), "boxes": boxes}
    sided = {number[p] for p, row in rows if {"left", "right"} & set(row.question.lower().split())}
    sided |= {number[p] for p, row in rows if {"left", "right"} & set(row.answers)}
    arrays["sided"] = np.isin(np.arange(len(photos)), list(sided))  # photos that must not be mirrored
    return {"arrays": arrays, "photos": photos, "answers": answer_list, "concepts": vocabulary}


class RowTable:
    """Questions with their answers' shares, growing; those without an answer of the list are left out."""

    def __init__(self, table: TextTable, index: dict[str, int]):
        self.table, self.index = table, index
        self.text, self.photo, self.kind, self.starts, self.answers, self.shares = [], [], [], [0], [], []

    def add(self, question: str, answers: Sequence[str], kind: int, photo: int) -> None:
        """One question; several answers share its target by how many gave them."""
        known = Counter(self.index[key] for key in map(normalize_answer, answers) if key in self.index)
        if not known:
            return
        self.text.append(self.table.place(question))
        self.photo.append(photo)
        self.kind.append(kind)
        for answer, count in known.items():
            self.answers.append(answer)
            self.shares.append(count / known.total())
        self.starts.append(len(self.answers))

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """Arrays by name: text, photo, kind [rows], starts [rows + 1], answers and shares flat."""
        types = {"text": np.int32, "photo": np.int32, "kind": np.int8, "starts": np.int64}
        types |= {"answers": np.int32, "shares": np.float32}
        return {f"{name}_{part}": np.array(getattr(self, part), kind) for part, kind in types.items()}


def kind_of(row: Row) -> int:
    """Open, or a yes/no question, of data that are balanced or not."""
    usual = Counter(row.answers).most_common(1)[0][0]
    if usual not in ("yes", "no"):
        return OPEN
    return BALANCED if row.source.startswith("vqa_v2") else YES_NO


def photo_texts(rows: list[tuple[str, Row]], sources: dict) -> tuple[dict[str, PhotoTexts], set[str]]:
    """What is known of every photo in words, and which are described so fully that what isn't said is likely absent."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for photo, row in rows:
        usual = Counter(row.answers).most_common(1)[0][0].lower()
        if usual not in ("yes", "no") and not usual.isdigit():
            found[photo]["answers"].append(usual)
        found[photo]["questions"].append(row.question)
    described, folder = set(), Path(sources["captions"])
    for line in read_json_lines(folder / "captions_human.jsonl"):
        if line["split"] == "train" and line["image"] in found:
            found[line["image"]]["captions"] += line["captions"]
            described.add(line["image"])
    for line in read_json_lines(folder / "captions_machine.jsonl"):
        if line["split"] == "train" and line["image"] in found and line["conf"] > FEWEST_CONFIDENCE:
            found[line["image"]]["captions"] += line["captions"]
    for line in read_json_lines(folder / "tags_machine.jsonl"):
        if line["split"] == "train" and line["image"] in found:
            found[line["image"]]["tags"] += [tag for tag, sure in line["tags"] if sure > FEWEST_TAG_CONFIDENCE]
            described.add(line["image"])
    for captioned in map(Path, sources["captioned"]):
        for line in read_json_lines(captioned / "train.jsonl"):
            found[f"{captioned.name}/{line['image']}"]["captions"] += line["captions"]
            described.add(f"{captioned.name}/{line['image']}")
    known = {photo: PhotoTexts(**{name: tuple(part) for name, part in one.items()}) for photo, one in found.items()}
    return known, described


def concept_vocabulary(texts: dict[str, PhotoTexts], sentences: Sequence[str], size: int) -> list[str]:
    """The words that the most photos show, with what they are by WordNet where captions use that word too."""
    photos = Counter(word for one in texts.values() for word in one.shown if len(word) > 1)
    said = Counter(word for sentence in sentences for word in set(content_words(sentence)))
    ranked = sorted(photos, key=lambda word: (-photos[word] - 0.2 * said[word], word))
    return ranked[:size]


def concept_labels(
    texts: dict[str, PhotoTexts], photos: list[str], described: set[str], vocabulary: list[str]
) -> dict[str, np.ndarray]:
    """``concept_photo``, ``concept_id`` of what is shown; ``concept_maybe_*`` of what may be, so that neither counts;
    ``absent_weight`` [photos]: how far what isn't said counts as absent."""
    index = {word: place for place, word in enumerate(vocabulary)}
    shown, maybe, weight = [], [], np.zeros(len(photos), np.float32)
    for place, photo in enumerate(photos):
        one = texts[photo]
        words = {above for word in one.shown for above in (noun_ancestors(word) or {word})} & index.keys()
        shown += [(place, index[word]) for word in words]
        perhaps = {base_form(word) for word in one.mentioned} & index.keys() - words
        maybe += [(place, index[word]) for word in perhaps]
        weight[place] = 1.0 if photo in described else 0.4 if one.captions else 0.1
    shown_array, maybe_array = np.array(shown, np.int32), np.array(maybe, np.int32)
    return {"concept_shown": shown_array, "concept_maybe": maybe_array, "absent_weight": weight}
