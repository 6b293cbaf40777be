"""People's corrections: list them, delete them, turn them into training data, measure what a model learns from them.

They come from the page's database (--database FILE) or from the dataset it uploads to (--repo OWNER/NAME).

Examples:
    python -m training.feedback list --database feedback/corrections.db
    python -m training.feedback export --database feedback/corrections.db --output my/corrections
    python -m training.feedback delete --database feedback/corrections.db --photo 56f824a91c88
"""

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from training.datasets.answer_classes import answer_identity
from training.datasets.questions import answer_index
from training.measuring.common import add_measuring_options
from valm_core.checkpoints.atomic_files import replace_folder
from valm_core.checkpoints.contents import ANSWERS_FILE, missing_file
from valm_core.checkpoints.fingerprints import answer_list_fingerprint
from valm_core.checkpoints.hub import fetch_checkpoint
from valm_core.commands import ending_in_a_line
from valm_core.corrections.database import MODEL_COLUMNS, Correction, delete_corrections, read_corrections
from valm_core.inputs.text import clean_text, printable

OTHERS = {"refuse": "", "keep": "are kept", "leave-out": "are left out"}  # of models with another answer list


def for_checkpoint(corrections: Iterable[Correction], checkpoint: str, others: str) -> tuple[list[Correction], str]:
    """The corrections that a checkpoint is to learn from, and a line about those of other models and unknown answers.

    Args:
        corrections: of any model.
        checkpoint: folder or hub name of the model that is to be trained.
        others: what becomes of corrections made with another answer list: one of ``OTHERS``.

    Raises:
        FileNotFoundError, ValueError: no checkpoint, or ``others`` is "refuse" and there are some.
    """
    folder = fetch_checkpoint(checkpoint)
    if missing := missing_file(folder):
        raise FileNotFoundError(f"{checkpoint} is no VALM checkpoint: {missing} is missing.")
    answers = json.loads((folder / ANSWERS_FILE).read_text(encoding="utf-8"))
    ours = answer_list_fingerprint(answers)
    corrections = list(corrections)
    foreign = [each for each in corrections if each.answer_list not in ("", ours)]
    if foreign and others == "refuse":
        raise ValueError(
            f"{len(foreign)} of {len(corrections)} corrections were made with a model of another answer list than "
            f"{checkpoint}. Leave them out with --other-models leave-out, or take them with --other-models keep."
        )
    kept = [each for each in corrections if others == "keep" or each not in foreign]
    unsaid = sum(not each.answer_list for each in kept)
    index = answer_index(answers)
    new = dict.fromkeys(each.right_answer for each in kept if answer_identity(each.right_answer) not in index)
    notes = [f"{len(foreign)} corrections were made with another answer list and {OTHERS[others]}."] * bool(foreign)
    notes += [f"{unsaid} don't say which model they correct; they are kept."] * bool(unsaid)
    notes += [f"{len(new)} right answers are not in the list of {checkpoint}: {', '.join(list(new)[:5])}."] * bool(new)
    return kept, " ".join(notes)


def export(corrections: Iterable[Correction], output: str | Path) -> int:
    """Write ``corrections.jsonl`` and its ``photos`` into the folder ``output``, whole or not at all.

    The folder must be new, empty or an earlier export, which is replaced.

    Returns:
        How many rows were written.

    Raises:
        OSError: the corrections can't be read or the folder not be written.
        ValueError: there is none, or ``output`` holds other files.
    """
    output = Path(output)
    ours = {"corrections.jsonl", "photos"}
    if output.exists() and (not output.is_dir() or {path.name for path in output.iterdir()} - ours):
        raise ValueError(f"output is {str(output)!r}, which holds other files. Name a new folder.")
    corrections = list(corrections)
    if not corrections:
        raise ValueError("There is no correction yet.")
    with replace_folder(output) as folder:
        (folder / "photos").mkdir()
        lines = []
        for correction in corrections:
            photo = folder / "photos" / f"{correction.photo}.jpg"
            photo.write_bytes(correction.jpeg)
            question, answer = _cleaned(correction)
            row = {"image": f"photos/{photo.name}", "question": question, "answer": answer}
            made_with = {name: getattr(correction, name) for name in MODEL_COLUMNS if getattr(correction, name)}
            lines.append(json.dumps(row | {"source": "feedback"} | made_with, ensure_ascii=False) + "\n")
        (folder / "corrections.jsonl").write_text("".join(lines), encoding="utf-8")
    return len(lines)


def _cleaned(correction: Correction) -> tuple[str, str]:
    """Question and right answer in their normal form, in which earlier versions didn't store them."""
    try:
        return clean_text(correction.question, "question"), clean_text(correction.right_answer, "right answer")
    except ValueError as error:
        raise ValueError(f"correction {correction.number}: {error}") from error


def read(options: argparse.Namespace) -> Iterable[Correction]:
    """All corrections of the database or repository that the command names."""
    if options.repo:
        from valm_core.corrections.hub_dataset import read_repo

        return read_repo(options.repo)
    return read_corrections(options.database)


def table(corrections: Iterable[Correction]) -> str:
    """One line a correction: number, time, receipt, question, the model's answer and the right one."""
    rows = [("number", "time (UTC)", "photo", "question", "model", "right")]
    rows += [
        (str(each.number), each.time, each.photo[:12], each.question, each.model_answer, each.right_answer)
        for each in corrections
    ]
    return "\n".join("\t".join(map(printable, row)) for row in rows)


def delete(options: argparse.Namespace) -> int:
    """Delete what the command names; how many corrections that were. Raises ValueError and OSError."""
    if not options.repo:
        return delete_corrections(options.database, options.photo, options.number, options.older_than_days)
    if not options.photo:
        raise ValueError("Name the photo with --photo; the page itself deletes from a dataset what is too old.")
    from valm_core.corrections.hub_dataset import delete_from_repo

    return delete_from_repo(options.repo, options.photo)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    places = argparse.ArgumentParser(add_help=False)
    place = places.add_mutually_exclusive_group(required=True)
    place.add_argument("--database", help="the SQLite file that VALM_FEEDBACK names")
    place.add_argument("--repo", help="the dataset that VALM_FEEDBACK_REPO names")
    commands.add_parser("list", parents=[places], help="show the corrections")
    command = commands.add_parser("export", parents=[places], help="write them as JSON lines with their photos")
    command.add_argument("--output", required=True, help="folder for corrections.jsonl and photos/")
    command.add_argument("--checkpoint", help="the model that is to learn from them; others' corrections are refused")
    command.add_argument(
        "--other-models",
        choices=OTHERS,
        default="refuse",
        help="with --checkpoint: what becomes of corrections of a model with another answer list (default refuse)",
    )
    command = commands.add_parser("delete", parents=[places], help="delete corrections and their photos for good")
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("--photo", default="", help="the number a person was given: all corrections of that photo")
    which.add_argument("--number", type=int, help="one correction, by its number in `list`")
    which.add_argument("--older-than-days", type=int, help="all that are older")
    command = commands.add_parser("measure", help="what a checkpoint learns from 20 corrections, and forgets")
    add_measuring_options(command, "write the figures to this JSON file, and a table beside it")
    command.add_argument("--data", required=True, help="rows to learn from; wrong ones are corrected")
    command.add_argument("--validation", required=True, help="rows on other photos")
    command.add_argument(
        "--answers", default="", help="correct rows with this right answer only; a,b: one run for each"
    )
    command.add_argument("--corrections", type=int, default=20)
    command.add_argument("--validation-rows", type=int, default=500)
    command.add_argument("--config", default="training/configs/feedback.yaml")
    command.add_argument("--output", default="runs/feedback", help="folder to work in")
    command.add_argument("--cache", default="runs/cache", help="folder for the encoders' outputs")
    options = parser.parse_args(arguments)
    with ending_in_a_line(parser, writes=getattr(options, "report", None)):
        if options.command == "measure":
            from training.corrections.measure import main as measure

            words = sys.argv[1:] if arguments is None else arguments
            options.command_line = " ".join(["python -m training.feedback", *words])
            measure(options)
        elif options.command == "list":
            print(table(read(options)))
        elif options.command == "export":
            corrections, message = list(read(options)), ""
            if options.checkpoint:
                corrections, message = for_checkpoint(corrections, options.checkpoint, options.other_models)
            elif (lists := len({each.answer_list for each in corrections})) > 1:
                message = f"These corrections are of models with {lists} answer lists; --checkpoint picks those of one."
            rows = export(corrections, options.output)
            if message:
                print(message)
            print(f"{rows} rows are in {Path(options.output) / 'corrections.jsonl'}.")
        else:
            count = delete(options)
            if not count:
                raise ValueError("There is no such correction; `list` shows them.")
            print(f"{count} corrections were deleted. Delete earlier exports yourself.")


if __name__ == "__main__":
    main()
