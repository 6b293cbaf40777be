"""What joint training learns from, as flat arrays: questions, captions, concepts and boxes of photos."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerBase

from training.datasets.answer_classes import answer_identity
from training.datasets.caption_questions import caption_questions
from training.datasets.generated_questions import (
    PhotoTexts,
    color_questions,
    fill_in_questions,
    noun_ancestors,
    presence_questions,
)
from training.datasets.questions import answer_index, build_answer_list
from training.datasets.readers.jsonl import DataError, Row, json_object, needed_text, scan_lines, without_faults
from training.datasets.word_forms import FUNCTION_WORDS, base_form, content_words, words_of
from training.metrics.vqa_accuracy import normalize_answer

# Kinds of rows: what is asked, and whether yes and no are as likely before the photo is seen.
OPEN, YES_NO, BALANCED, PRESENCE, COLOR, FILL_IN, CAPTION = range(7)
PERSON_WORDS = frozenset(
    """
    man woman person people boy girl men women boys girls guy lady child children kid kids
    """.split()
)
MAX_BOXES = 12
MIN_CONFIDENCE, MIN_TAG_CONFIDENCE = 0.3, 0.6  # of a captioner, of a tagger
CLEANED = frozenset({"question", "answer", "answers", "captions"})  # what people wrote, in one normal form
# Questions and statements that only measure: their folder, and how the sources of their rows begin.
MEASURING_FOLDER = "statements"
MEASURING_SOURCES = ("pope", "valse", "vsr", "gqa")


@dataclass(frozen=True)
class JointSources:
    """Where joint training finds its data; a photo's name is its folder's name and its path in it. Checked.

    Args:
        questions: folders with train.jsonl and the photos it names.
        captions: folder with captions_human.jsonl, captions_machine.jsonl, captions_no_photo.jsonl, tags_machine.jsonl
            and person_boxes.jsonl; they name photos as above and tell by ``split`` which are for training.
        captioned: folders whose train.jsonl has captions instead of questions.
        texts: files of questions without photos, JSON lines, also gzipped.
        left_out: names of photos to leave out.
        answers: length of the answer list.

    Raises:
        ValueError: a value is of another kind, two folders have one name, or one is only for measuring.
    """

    questions: list
    captions: str
    captioned: list = field(default_factory=list)
    texts: list = field(default_factory=list)
    left_out: list = field(default_factory=list)
    answers: int = 3000

    def __post_init__(self):
        for name in ("questions", "captioned", "texts", "left_out"):
            if faults := [value for value in getattr(self, name) if not isinstance(value, str) or not value]:
                raise ValueError(f"{name} holds {faults[0]!r}; a list of paths is needed.")
        if not self.questions:
            raise ValueError("questions is empty; at least one folder with a train.jsonl is needed.")
        if self.answers < 1:
            raise ValueError(f"answers is {self.answers}; a number above 0 is needed.")
        names = Counter(Path(folder).absolute().name for folder in (*self.questions, *self.captioned))
        if twice := [name for name, count in names.items() if count > 1]:
            raise ValueError(f"Two folders are named {twice[0]!r}, so that photos can't be told apart; rename one.")
        for path in (*self.questions, self.captions, *self.captioned, *self.texts):
            check_may_train(path)

    @property
    def folders(self) -> dict[str, Path]:
        """The folders of photos by name."""
        return {Path(folder).absolute().name: Path(folder) for folder in (*self.questions, *self.captioned)}

    def photo_path(self, photo: str) -> Path:
        """Where a photo of ``joint_data`` lies."""
        folder, _, path = photo.partition("/")
        return self.folders[folder] / path


def check_may_train(path: str | Path) -> None:
    """Refuse what lies in a folder of statements that only measure.

    Raises:
        ValueError: it does.
    """
    if MEASURING_FOLDER in {*Path(path).absolute().parts, *Path(path).resolve().parts}:
        raise ValueError(
            f"{path} lies in a folder named `{MEASURING_FOLDER}`: its rows measure what was learned and must never be "
            "learned from. Take it out of the config."
        )


def read_json_lines(path: str | Path, *needed: str) -> list[dict]:
    """The objects of a JSON lines file, plain or gzipped, to learn from.

    Args:
        path: the file.
        needed: names that every object must have.

    Raises:
        DataError: there is no such file, a line is faulty, lacks a name or is from a source that only measures; file,
            line and remedy are named.
    """
    check_may_train(path)
    return without_faults(scan_lines(path, _parsed, needed))


def _parsed(line: str, needed: Sequence[str]) -> dict:
    values = json_object(line)
    if missing := [name for name in needed if name not in values]:
        raise ValueError(f"`{missing[0]}` is missing")
    if str(values.get("source", "")).lower().startswith(MEASURING_SOURCES):
        raise ValueError(
            f"rows of the source {values['source']!r} measure what was learned and must never be learned from. Take "
            "them out"
        )
    for name in CLEANED & values.keys():
        if isinstance(values[name], str):
            values[name] = needed_text(values[name], name)
        elif isinstance(values[name], list):
            values[name] = [needed_text(text, name) for text in values[name]]
        elif isinstance(values[name], dict):  # how many people gave which answer
            values[name] = {needed_text(text, name): people for text, people in values[name].items()}
    return values


def _word_around(text: str, begin: int, end: int) -> str:
    """The whole word that a piece of text belongs to, in lower case; a mark beside a word is none of it."""
    while 0 < begin < end and text[begin - 1 : begin + 1].isalpha():
        begin -= 1
    while begin < end < len(text) and text[end - 1 : end + 1].isalpha():
        end += 1
    return text[begin:end].lower()


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
                    word = _word_around(text, begin, end)
                    ids.append(token)
                    function.append(not word or word in FUNCTION_WORDS or not any(map(str.isalnum, word)))
                    person.append(word in PERSON_WORDS)
                starts.append(len(ids))
        return {
            "text_ids": np.array(ids, np.int32),
            "text_starts": np.array(starts, np.int64),
            "text_function": np.array(function, np.uint8),
            "text_person": np.array(person, np.uint8),
        }


def joint_data(sources: JointSources, tokenizer: PreTrainedTokenizerBase, concepts: int, seed: int = 0) -> dict:
    """Everything that joint training learns from.

    Args:
        sources: where it lies.
        tokenizer: of the text encoder; its [MASK] is a token of its own.
        concepts: how many words the concepts are at most.
        seed: of what is drawn.

    Returns:
        ``arrays``, see ``training.joint.batches``; ``photos``, ``answers`` and ``concepts``, lists of names.

    Raises:
        DataError: a file is missing or faulty.
        WordNetMissing: WordNet can't be read here.
    """
    rows = question_rows(sources)
    answers = build_answer_list([row for _, row in rows], sources.answers)
    texts, described = photo_texts(rows, sources)
    alone = read_json_lines(Path(sources.captions) / "captions_no_photo.jsonl", "captions")
    sentences = [caption for one in texts.values() for caption in one.captions]
    sentences += [caption for line in alone for caption in line["captions"]]

    photos = sorted(texts)
    number = {photo: place for place, photo in enumerate(photos)}
    table, index = TextTable(tokenizer), answer_index(answers)
    asked = RowTable(table, index)
    for photo, row in rows:
        asked.add(row.question, row.answers, kind_of(row), number[photo])
    for photo, question, answer in presence_questions(texts, sentences, seed):
        asked.add(question, (answer,), PRESENCE, number[photo])
    for photo, question, answer in color_questions(texts, seed):
        asked.add(question, (answer,), PRESENCE if answer in ("yes", "no") else COLOR, number[photo])
    for photo, question, answer in fill_in_questions(texts, answers, seed=seed):
        asked.add(question, (answer,), FILL_IN, number[photo])
    for photo, question, answer in caption_questions(texts, [normalize_answer(one) for one in answers], seed=seed):
        asked.add(question, (answer,), CAPTION, number[photo])
    blind = blind_rows(sources, alone, RowTable(table, index), answers, seed)
    captions = [(table.place(caption), number[photo]) for photo in photos for caption in texts[photo].captions]

    vocabulary = concept_vocabulary(texts, sentences, concepts)
    arrays = table.arrays() | asked.arrays("row") | blind.arrays("blind")
    arrays |= concept_labels(texts, photos, described, vocabulary)
    arrays |= {"captions": np.array(captions, np.int32).reshape(-1, 2), "boxes": person_boxes(sources, number)}
    sided = {number[photo] for photo, row in rows if _is_sided(row)}
    arrays["sided"] = np.isin(np.arange(len(photos)), list(sided))  # photos that must not be mirrored
    return {"arrays": arrays, "photos": photos, "answers": answers, "concepts": vocabulary}


def question_rows(sources: JointSources) -> list[tuple[str, Row]]:
    """(photo, its question) of all folders of questions."""
    left_out, rows = set(sources.left_out), []
    for folder in sources.questions:
        name = Path(folder).absolute().name
        for line in read_json_lines(Path(folder) / "train.jsonl", "image", "question"):
            photo = f"{name}/{line['image']}"
            if photo not in left_out:
                row = Row(None, line["question"], _given(line, folder), source=line.get("source", "unknown"))
                rows.append((photo, row))
    return rows


def blind_rows(
    sources: JointSources, alone: Sequence[dict], table: "RowTable", answers: Sequence[str], seed: int
) -> "RowTable":
    """Fill a table with questions without photos: those of the files, and words to fill into captions."""
    for file in sources.texts:
        for line in read_json_lines(file, "question"):
            given = _given(line, file)
            row = Row(None, line["question"], given, source="vqa_v2" if len(given) > 1 else "vqa_v1")
            table.add(row.question, row.answers, kind_of(row), -1)
    texts = {str(place): PhotoTexts(captions=tuple(line["captions"])) for place, line in enumerate(alone)}
    for _, question, answer in fill_in_questions(texts, answers, 1, seed):
        table.add(question, (answer,), FILL_IN, -1)
    return table


def person_boxes(sources: JointSources, number: dict[str, int]) -> np.ndarray:
    """[photos, MAX_BOXES, 4] as x0, y0, x1, y1 in 0..1, NaN for none."""
    boxes = np.full((len(number), MAX_BOXES, 4), np.nan, np.float32)
    needed = "image", "split", "persons_cx_cy_w_h_keypoints"
    for line in read_json_lines(Path(sources.captions) / "person_boxes.jsonl", *needed):
        if line["image"] in number and line["split"] == "train":
            for place, (x, y, width, height, *_) in enumerate(line["persons_cx_cy_w_h_keypoints"][:MAX_BOXES]):
                half = width / 2, height / 2
                boxes[number[line["image"]], place] = x - half[0], y - half[1], x + half[0], y + half[1]
    return boxes


def _given(line: dict, place: str) -> tuple[str, ...]:
    """A row's answers: ``answers``, a list or how many gave which, or its one ``answer``."""
    answers = line.get("answers") or [line["answer"]] if line.keys() & {"answers", "answer"} else []
    if isinstance(answers, dict):
        answers = [answer for answer, people in answers.items() for _ in range(people)]
    if not answers:
        raise DataError(f"{place}: the question {line['question']!r} has no answer; give `answer` or `answers`.")
    return tuple(answers)


def _is_sided(row: Row) -> bool:
    return bool({"left", "right"} & {word for text in (row.question, *row.answers) for word in words_of(text)})


class RowTable:
    """Questions with their answers' shares, growing; those without an answer of the list are left out."""

    def __init__(self, table: TextTable, index: dict[str, int]):
        self.table, self.index = table, index
        self.text: list[int] = []
        self.photo: list[int] = []
        self.kind: list[int] = []
        self.starts = [0]
        self.answers: list[int] = []
        self.shares: list[float] = []

    def add(self, question: str, answers: Sequence[str], kind: int, photo: int) -> None:
        """One question; several answers share its target by how many gave them."""
        known = Counter(self.index[key] for key in map(answer_identity, answers) if key in self.index)
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
        types: dict[str, type] = {"text": np.int32, "photo": np.int32, "kind": np.int8, "starts": np.int64}
        types |= {"answers": np.int32, "shares": np.float32}
        return {f"{name}_{part}": np.array(getattr(self, part), kind) for part, kind in types.items()}


def kind_of(row: Row) -> int:
    """Open, or a yes/no question, of data that are balanced or not."""
    usual = Counter(map(normalize_answer, row.answers)).most_common(1)[0][0]
    if usual not in ("yes", "no"):
        return OPEN
    return BALANCED if row.source.startswith("vqa_v2") else YES_NO


def photo_texts(rows: list[tuple[str, Row]], sources: JointSources) -> tuple[dict[str, PhotoTexts], set[str]]:
    """What is known of every photo in words, and which are described so fully that what isn't said is likely absent."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for photo, row in rows:
        usual = Counter(row.answers).most_common(1)[0][0].lower()
        if usual not in ("yes", "no") and not usual.isdigit():
            found[photo]["answers"].append(usual)
        found[photo]["questions"].append(row.question)
    described, folder = set(), Path(sources.captions)
    for line in read_json_lines(folder / "captions_human.jsonl", "image", "split", "captions"):
        if line["split"] == "train" and line["image"] in found:
            found[line["image"]]["captions"] += line["captions"]
            described.add(line["image"])
    for line in read_json_lines(folder / "captions_machine.jsonl", "image", "split", "captions", "conf"):
        if line["split"] == "train" and line["image"] in found and line["conf"] > MIN_CONFIDENCE:
            found[line["image"]]["captions"] += line["captions"]
    for line in read_json_lines(folder / "tags_machine.jsonl", "image", "split", "tags"):
        if line["split"] == "train" and line["image"] in found:
            found[line["image"]]["tags"] += [tag for tag, sure in line["tags"] if sure > MIN_TAG_CONFIDENCE]
            described.add(line["image"])
    for captioned in sources.captioned:
        for line in read_json_lines(Path(captioned) / "train.jsonl", "image", "captions"):
            photo = f"{Path(captioned).absolute().name}/{line['image']}"
            if photo not in sources.left_out:
                found[photo]["captions"] += line["captions"]
                described.add(photo)
    known = {photo: PhotoTexts(**{name: tuple(part) for name, part in one.items()}) for photo, one in found.items()}
    return known, described


def concept_vocabulary(texts: dict[str, PhotoTexts], sentences: Sequence[str], size: int) -> list[str]:
    """The ``size`` commonest words: by the photos that show them, and a fifth of the captions that say them."""
    photos = Counter(word for one in texts.values() for word in one.shown if len(word) > 1)
    said = Counter(word for sentence in sentences for word in set(content_words(sentence)))
    ranked = sorted(photos, key=lambda word: (-photos[word] - 0.2 * said[word], word))
    return ranked[:size]


def concept_labels(
    texts: dict[str, PhotoTexts], photos: list[str], described: set[str], vocabulary: list[str]
) -> dict[str, np.ndarray]:
    """What photos show, as arrays.

    ``concept_shown`` [S, 2]: (photo, concept) of what is shown; ``concept_maybe`` [M, 2] of what may be, so that
    neither counts; ``absent_weight`` [photos]: how far what isn't said counts as absent.
    """
    index = {word: place for place, word in enumerate(vocabulary)}
    shown, maybe, weight = [], [], np.zeros(len(photos), np.float32)
    for place, photo in enumerate(photos):
        one = texts[photo]
        words = {above for word in one.shown for above in (noun_ancestors(word) or {word})} & index.keys()
        shown += [(place, index[word]) for word in words]
        perhaps = {base_form(word) for word in one.mentioned} & index.keys() - words
        maybe += [(place, index[word]) for word in perhaps]
        weight[place] = 1.0 if photo in described else 0.4 if one.captions else 0.1
    pairs = (np.array(found, np.int32).reshape(-1, 2) for found in (shown, maybe))
    return dict(zip(("concept_shown", "concept_maybe"), pairs, strict=True)) | {"absent_weight": weight}
