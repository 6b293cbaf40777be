"""Many questions from the terminal: a folder or a JSON lines file in, JSON lines or Parquet out, resumable."""

import codecs
import json
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from valm_core.checkpoints.atomic_files import write_text
from valm_core.checkpoints.contents import WEIGHTS_FILE
from valm_core.inputs.photo import PHOTO_ENDINGS, photos_in
from valm_core.inputs.text import LONE_SURROGATE, TwiceError, parse_json, printable, writable
from valm_core.model.packages import sha256_of
from valm_core.outputs import EncodedImage, InputError, Prediction, Predictor

PHOTOS_AT_ONCE, QUESTIONS_AT_ONCE = 16, 64
FORMATS = (".jsonl", ".parquet")
NOTHING: dict[str, object] = {
    "predicted": None,  # the likeliest answer
    "probability": None,  # its, calibrated, 0..1
    "predictions": [],  # the likeliest answers, each with its probability
    "blind_predicted": None,  # the likeliest without the photo
    "gate": None,  # the question's share in the answer, 0..1
    "unfamiliar": None,  # "photo", "question" or "photo question", where unlike those that the model learned from
    "model": None,  # the first 12 digits of the weights' sha256
    "top": None,  # how many answers were asked for
    "photo_sha256": None,  # the first 12 digits of the photo file's sha256
    "error": None,  # why there is no answer
}  # the columns that an answer adds to a row; a row's own of these names are left out

ADDED_LATER = ("top", "photo_sha256")  # columns that outputs of earlier versions lack
Key = tuple[str, str]  # image and question as the row has them


@dataclass(frozen=True)
class Summary:
    """What a run did: the input's rows, those with an error, questions answered now, and the seconds that took.

    ``left_out`` counts a folder's files that are no photos, by ending.
    """

    rows: int
    errors: int
    answered: int
    seconds: float
    left_out: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        speed = f" ({self.answered / self.seconds:.0f} a second)" if self.answered else ""
        return (
            f"{self.rows} rows, {self.errors} of them with an error; {self.answered} questions answered now in "
            f"{self.seconds:.1f} s{speed}.{_left_out_text(self.left_out)}"
        )


@dataclass(frozen=True)
class Source:
    """What is to be answered.

    Args:
        rows: each with ``image`` and ``question``, or with an ``error``; all their texts can be written as UTF-8.
        files: the file that a row's ``image`` stands for.
        left_out: a folder's other files, counted by ending.
    """

    rows: list[dict]
    files: dict[str, Path]
    left_out: dict[str, int] = field(default_factory=dict)


def answer_batch(
    predictor: Predictor,
    source: str | Path,
    output: str | Path,
    questions: Sequence[str] = (),
    top: int = 5,
    model: str = "",
) -> Summary:
    """Answer every row of ``source``; what ``output`` already has is not asked again, but for rows with an error.

    The output has the input's rows in their order, with all their columns and those of ``NOTHING``; after them stand
    rows that it had from an earlier input. While it works, whole lines are appended: to the output itself, for Parquet
    to a file beside it, so that an interrupted run goes on where it stopped.

    Args:
        predictor: which answers.
        source: a JSON lines file of rows with ``image``, a path relative to the file, and ``question``; or a folder.
        output: a file with an ending of ``FORMATS``.
        questions: what to ask each photo of a folder; none for a file.
        top: how many answers a row gets.
        model: written into each row; an output of another model, another top or other photos under the same names is
            not gone on with.

    Raises:
        ValueError: the source or output can't be used; the message says why.
    """
    source, output = Path(source), Path(output)
    folder = source if source.is_dir() else source.parent
    if output.suffix not in FORMATS:
        raise ValueError(f"--output is {str(output)!r}; its name must end in {' or '.join(FORMATS)}.")
    if output.resolve() == source.resolve():
        raise ValueError(f"--output is the file of the questions, {source}. Name another.")
    if output.suffix == ".parquet":
        _parquet()
    working = output if output.suffix == ".jsonl" else output.with_name(output.name + ".partial.jsonl")
    asked = read_source(source, questions, (output, working))
    rows = asked.rows
    output.parent.mkdir(parents=True, exist_ok=True)
    earlier = read_answers(output, working)
    done = {key_of(row): row for row in earlier if row.get("error") is None}
    others = {row["model"] for row in done.values() if row.get("model")} - {model}
    if others:
        raise ValueError(
            f"{output} holds answers of model {min(others)}, and this is model {model}. Name another file."
        )

    tops = {row["top"] for row in done.values() if row["top"] is not None} - {top}
    if tops:
        raise ValueError(
            f"{output} holds the {min(tops)} likeliest answers a row, and --top is {top}. Ask for as many, or name "
            "another file."
        )
    usable = {key_of(row) for row in rows if row.get("error") is None}
    earlier_photos = {row["image"]: row["photo_sha256"] for key, row in done.items() if key in usable}
    for image, digest in earlier_photos.items():
        if digest and (now := photo_digest(asked.files[image])) and now != digest:
            raise ValueError(
                f"{output} holds answers about another {image} than lies in {folder} now. Name another file, or delete "
                "that one to ask all anew."
            )

    waiting: dict[Path, dict[str, list[dict]]] = {}  # photo -> question -> its rows
    for row in rows:
        if row.get("error") is None and key_of(row) not in done:
            waiting.setdefault(asked.files[row["image"]], {}).setdefault(row["question"], []).append(row)
    started, answered = time.monotonic(), 0
    with working.open("a", encoding="utf-8") as file:
        for path, question, columns in _with_progress(answers(predictor, waiting, top), waiting):
            columns |= {"model": model or None, "top": top}
            if columns["error"] is None:
                columns["photo_sha256"] = photo_digest(path)
            for row in waiting[path][question]:
                done[key_of(row)] = row | columns
                file.write(json.dumps(done[key_of(row)], ensure_ascii=False) + "\n")
            file.flush()
            answered += columns["error"] is None

    known = {key_of(row) for row in rows}
    finished = [row | {name: done.get(key_of(row), row)[name] for name in NOTHING} for row in rows]
    write_rows(output, finished + [row for row in earlier if key_of(row) not in known])
    if working != output:
        working.unlink()
    errors = sum(row["error"] is not None for row in finished)
    return Summary(len(finished), errors, answered, time.monotonic() - started, asked.left_out)


def answers(
    predictor: Predictor, waiting: dict[Path, dict[str, list[dict]]], top: int
) -> Iterator[tuple[Path, str, dict]]:
    """Ask each photo its questions: photo, question and the columns of ``NOTHING``, an error in place of an answer.

    Every photo is opened and encoded once, ``PHOTOS_AT_ONCE`` together; ``QUESTIONS_AT_ONCE`` are answered together.
    """
    with ThreadPoolExecutor() as pool:
        for paths in _parts(waiting, PHOTOS_AT_ONCE):
            opened = dict(zip(paths, pool.map(lambda path: _opened(predictor, path), paths), strict=True))
            for path in paths:
                if isinstance(opened[path], str):
                    yield from ((path, question, NOTHING | {"error": opened[path]}) for question in waiting[path])
            fine = [path for path in paths if not isinstance(opened[path], str)]
            if not fine:
                continue
            encoded = dict(zip(fine, predictor.encode_many([opened[path] for path in fine]), strict=True))
            pairs = [(path, question) for path in fine for question in waiting[path]]
            for part in _parts(pairs, QUESTIONS_AT_ONCE):
                replies = _replies(predictor, [encoded[path] for path, _ in part], [text for _, text in part], top)
                for (path, question), reply in zip(part, replies, strict=True):
                    yield path, question, columns_of(reply)


def columns_of(reply: Prediction | InputError) -> dict:
    """A reply as the columns of ``NOTHING``."""
    if isinstance(reply, InputError):
        return NOTHING | {"error": str(reply)}
    return NOTHING | {
        "predicted": reply.answers[0].text,
        "probability": reply.answers[0].probability,
        "predictions": [{"answer": answer.text, "probability": answer.probability} for answer in reply.answers],
        "blind_predicted": reply.blind_answers[0].text,
        "gate": reply.gate,
        "unfamiliar": " ".join(reply.unfamiliar),
    }


def _opened(predictor: Predictor, path: Path) -> Image.Image | str:
    try:
        return predictor.open_photo(path)
    except (InputError, OSError) as error:
        return writable(error)


def _replies(
    predictor: Predictor, images: list[EncodedImage], questions: list[str], top: int
) -> Sequence[Prediction | InputError]:
    """One reply a question; where one can't be asked, all are asked singly to find which."""
    try:
        return predictor.answer_many(images, questions, top)
    except InputError as error:
        if len(questions) == 1:
            return [error]
        singly = zip(images, questions, strict=True)
        return [reply for image, text in singly for reply in _replies(predictor, [image], [text], top)]


def read_source(source: Path, questions: Sequence[str] = (), ours: Sequence[Path] = ()) -> Source:
    """The rows to answer. A line of a file that is none becomes a row with an ``error``.

    Args:
        source: a file or a folder.
        questions: what to ask each photo of a folder.
        ours: files that are not listed as left out of a folder.

    Raises:
        ValueError: there is nothing to answer.
    """
    if source.is_dir():
        return _folder(source, questions, {path.resolve() for path in ours})
    if not source.is_file():
        raise ValueError(f"There is no file or folder {str(source)!r}. Check the path.")
    if questions:
        raise ValueError(f"{source} brings its own questions: leave --question out, or give a folder.")
    lines = source.read_bytes().removeprefix(codecs.BOM_UTF8).splitlines()
    read = [_row(line, number) for number, line in enumerate(lines, 1) if line.strip()]
    if not read:
        raise ValueError(f"{source} is empty. It needs one JSON object a line, with image and question.")
    rows = [_writable(row) for row in read]
    # By the name as it was read: what JSON gives as \udce9 is a byte of a name that is no UTF-8.
    names = {row["image"]: plain["image"] for row, plain in zip(rows, read, strict=True)}
    return Source(rows, {name: source.parent / plain for name, plain in names.items() if name is not None})


def _folder(folder: Path, questions: Sequence[str], ours: set[Path]) -> Source:
    if not questions:
        raise ValueError(f"{folder} is a folder: say what to ask its photos with --question.")
    photos, others = photos_in(folder)
    endings = Counter(writable(path.suffix.lower()) for path in others if path.resolve() not in ours)
    left_out = dict(endings.most_common())
    if not photos:
        raise ValueError(f"{folder} has no photos ({', '.join(PHOTO_ENDINGS)}).{_left_out_text(left_out)}")
    files = {writable(path.relative_to(folder).as_posix()): path for path in photos}
    return Source([{"image": name, "question": text} for name in files for text in questions], files, left_out)


def _left_out_text(left_out: dict[str, int]) -> str:
    """`` Left out: 3 .txt, 1 without an ending.``; empty where nothing was."""
    if not left_out:
        return ""
    counts = ", ".join(f"{count} {ending or 'without an ending'}" for ending, count in left_out.items())
    heif = left_out.keys() & {".heic", ".heif", ".hif"}
    return f" Left out: {counts}.{' For ' + min(heif) + ': pip install pillow-heif.' if heif else ''}"


def _writable(value):
    """A value of JSON with each text as UTF-8 can write it, see ``writable``."""
    if isinstance(value, str):
        return writable(value)
    if isinstance(value, list):
        return [_writable(part) for part in value]
    if isinstance(value, dict):
        return {writable(name): _writable(part) for name, part in value.items()}
    return value


def _row(line: bytes, number: int) -> dict:
    unusable = {"image": None, "question": None, **NOTHING}
    try:
        row = parse_json(line.decode())
    except UnicodeDecodeError:
        return unusable | {"error": f"line {number} is no UTF-8 text"}
    except TwiceError as error:
        return unusable | {"error": f"line {number}: {error}"}
    except ValueError:
        row = None
    if not isinstance(row, dict):
        return unusable | {"error": f"line {number} is no JSON object"}
    row = {name: value for name, value in row.items() if name not in NOTHING}
    missing = [name for name in ("image", "question") if not isinstance(row.get(name), str)]
    if missing:
        message = f"line {number} has no text as {' and '.join(missing)}"
        return row | dict.fromkeys(missing) | NOTHING | {"error": message}
    if half := LONE_SURROGATE.search(row["question"]):  # in a photo's name it may be a byte that is no UTF-8
        message = f"line {number} has half a character, {printable(half[0])}, as a cut emoji leaves it"
        return row | NOTHING | {"error": message}
    return row


def key_of(row: dict) -> Key:
    """What tells rows apart; those of one key have one answer."""
    return row["image"], row["question"]


def read_answers(output: Path, working: Path) -> list[dict]:
    """The rows of an earlier run, the later ones last; a half-written last line is cut off its file.

    Raises:
        ValueError: the output is none of ours.
    """
    rows = []
    if output.suffix == ".parquet" and output.exists():
        rows += _parquet().read_table(output).to_pylist()
    if working.exists():
        content = working.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        try:
            rows += [json.loads(line) for line in whole.splitlines()]
        except ValueError as error:
            raise ValueError(f"{working} is no output of --batch: {error}. Name another file.") from error
    needed = {"image", "question", *NOTHING} - set(ADDED_LATER)
    if not all(isinstance(row, dict) and needed <= row.keys() for row in rows):
        raise ValueError(f"{output} is no output of --batch. Name another file.")
    if working.exists() and len(whole) < len(content):  # only now: it is a file of ours
        with working.open("r+b") as file:
            file.truncate(len(whole))
    rows = [dict.fromkeys(ADDED_LATER) | row for row in rows]
    return [row for row in rows if row["image"] is not None and row["question"] is not None]


def write_rows(output: Path, rows: list[dict]) -> None:
    """Write the whole output, which takes the place of the former at once."""
    if output.suffix == ".jsonl":
        write_text(output, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return
    fresh = output.with_name(f".{output.name}.{uuid.uuid4().hex[:8]}.new")
    try:
        _parquet().write_table(_table(rows), fresh, row_group_size=10_000)
        fresh.replace(output)
    finally:
        fresh.unlink(missing_ok=True)


def _table(rows: list[dict]):
    import pyarrow

    share = pyarrow.struct({"answer": pyarrow.string(), "probability": pyarrow.float64()})
    kinds = dict.fromkeys(NOTHING, pyarrow.string())
    kinds |= {
        "top": pyarrow.int64(),
        "probability": pyarrow.float64(),
        "gate": pyarrow.float64(),
        "predictions": pyarrow.list_(share),
    }

    def column(name: str):
        values = [row.get(name) for row in rows]
        try:
            return pyarrow.array(values, kinds.get(name))
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):  # values of several kinds: as JSON text
            return pyarrow.array([None if value is None else json.dumps(value) for value in values])

    return pyarrow.table({name: column(name) for name in dict.fromkeys(name for row in rows for name in row)})


def _parquet():
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ValueError(
            "Parquet needs pyarrow: pip install pyarrow, or name an --output that ends in .jsonl."
        ) from error
    return pyarrow.parquet


def _with_progress(replies: Iterable, waiting: dict[Path, dict[str, list[dict]]]) -> Iterable:
    from tqdm import tqdm

    return tqdm(replies, total=sum(map(len, waiting.values())), unit="question", disable=None)


def _parts(items: Iterable, size: int) -> Iterator[list]:
    items = list(items)
    return (items[start : start + size] for start in range(0, len(items), size))


def photo_digest(path: Path) -> str | None:
    """What tells a photo from another of its name; None where it can't be read."""
    try:
        return sha256_of(path)[:12]
    except (OSError, ValueError):
        return None


def model_name(checkpoint: str | Path) -> str:
    """What tells a checkpoint's answers from another's: the first 12 digits of its weights' sha256."""
    return sha256_of(Path(checkpoint) / WEIGHTS_FILE)[:12]
