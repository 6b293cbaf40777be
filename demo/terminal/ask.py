"""Ask about a photo from the terminal, or about many.

Examples:
    python -m demo.ask assets/examples/cat.jpg "What animal is this?" --figure cat.png
    python -m demo.ask --batch assets/examples --question "What is in the photo?" --output answers.jsonl
    python -m demo.ask --batch questions.jsonl --output answers.parquet

    python -m demo.ask --checkpoint assets/checkpoints/judge photo.jpg "Two dogs are running."
    python -m demo.ask --checkpoint assets/checkpoints/feel "What a lovely day!"
    python -m demo.ask --checkpoint assets/checkpoints/tag "Angela Merkel visited Paris."
    python -m demo.ask --checkpoint assets/checkpoints/read receipt.pdf "What is the total on the receipt?" --page 2
    python -m demo.ask --checkpoint assets/checkpoints/feel --batch posts.jsonl --output moods.jsonl

A checkpoint for another task takes what that task needs: a text, a photo, or both. See docs/tag.md,
docs/read.md, docs/judge.md, docs/feel.md and docs/relate.md.
A file for --batch has one JSON object a line, {"image": PATH, "question": TEXT}, with any other columns, which the
output keeps; for another task the rows are those that its data has, such as {"text": TEXT} or {"image": PATH,
"statement": TEXT}, and come back with what was `said`. Run the same command again to go on after an interruption,
and to try rows with an error once more.
Exit code: 0, 1 where rows have an error, 2 where nothing could be done, 130 when interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from demo.downloads.files import figure_footer, reply_json
from demo.rendering.evidence import VERDICT_WORDS, evidence_text, thresholds_text
from demo.settings import SHIPPED_READER, checkpoint_folder
from demo.terminal.spans import format_answer
from demo.terminal.tasks import ask_task, task_of_checkpoint
from valm_core.commands import bar, starting

if TYPE_CHECKING:  # imported for real in main, so that -h and a wrong argument answer at once
    from demo.terminal.batch import Summary
    from demo.terminal.task_batch import TaskSummary
    from demo.visit.printed import Printed
    from valm_core.outputs import EncodedImage, Evidence, Prediction, Predictor


def format_prediction(prediction: Prediction, evidence: Evidence | None, read: Printed | None = None) -> str:
    """The reply as lines of text with bars, how far its map can be believed, and above them what was ``read``."""
    lines = [prediction.question]
    if read and read.page and read.answer:
        lines += ["Read on the page by a second model:", *indented(format_answer(read.page, read.answer))]
        lines.append("The model for photos, which saw hardly any printed pages when it learned, says:")
    if prediction.long:
        best = prediction.answers[0]
        lines += [best.text, f"Each of its pieces was {best.probability:.1%} likely, in the geometric mean."]
    width = max(len(answer.text) for answer in prediction.answers)
    if prediction.guessed_from_question:
        lines.append("A guess from the question alone: without the photo the first answers are about as likely.")
    for answer in () if prediction.long else prediction.answers:
        lines.append(f"  {answer.text:<{width}}  {100 * answer.probability:5.1f} %  {bar(answer.probability)}")
    blind = prediction.blind_answers[0]
    lines.append(f"Without the photo: {blind.text} ({100 * blind.probability:.1f} %)")
    if prediction.gate is not None:
        lines.append(f"Mixed from question {prediction.gate:.0%} and photo {1 - prediction.gate:.0%}")
    if prediction.kinds:
        kinds = ", ".join(f"{kind} {share:.0%}" for kind, share in prediction.kinds.items())
        lines.append(f"Kind of answer: {kinds}")
    if read and read.message:
        lines.append(read.message)
    for part in prediction.unfamiliar:
        if part == "photo" and read and read.answer:
            continue
        lines.append(f"Few {part}s that the model learned from are like this one: the percentages may not hold.")
    if evidence:
        lines.append(f"Map of {evidence.method}: {VERDICT_WORDS[evidence.verdict]}. {evidence_text(evidence)}")
    if not prediction.calibrated and not prediction.long:
        lines.append("The percentages are the model's own and not calibrated: an order, no chances of being right.")
    if evidence and not evidence.own_thresholds:
        lines.append(thresholds_text(evidence))
    return "\n".join(lines)


def write(predictor: Predictor, image: EncodedImage, question: str, top: int, aloud: bool) -> Prediction:
    """The answer of a model that writes; ``aloud``: a longer text is shown on the error output word by word."""
    shown = ""
    for part in predictor.write(image, question, top):
        if not isinstance(part, str):
            prediction = part
        elif aloud and sys.stderr.isatty():
            print(part.removeprefix(shown), end="", file=sys.stderr, flush=True)
            shown = part
    if shown:
        print(file=sys.stderr)
    return prediction


def indented(text: str) -> list[str]:
    """The lines of a text, two spaces in."""
    return [f"  {line}" for line in text.splitlines()]


def read_if_printed(photo: str, prediction: Prediction) -> Printed | None:
    """What the shipped reader finds on a photo that is unfamiliar to the model that answered; None for others."""
    from demo.visit.printed import read_printed, wants_reading

    if not wants_reading(prediction) or not SHIPPED_READER.is_dir():
        return None
    from demo.more.models import MoreModels

    return read_printed(MoreModels({"read": SHIPPED_READER}), photo, prediction.question)


def run_batch(options: argparse.Namespace, predictor: Predictor | None = None, task: str = "answer") -> int:
    """Answer what ``--batch`` names, by a predictor or for another task, and tell how it went: the exit code."""
    from demo.terminal.batch import answer_batch, model_name
    from demo.terminal.task_batch import answer_task_batch

    try:
        if predictor is None:
            summary: Summary | TaskSummary = answer_task_batch(task, options.batch, options.output, options)
        else:  # answers of another prompt aren't gone on with
            parts = model_name(predictor), options.prompt, options.calibration
            model = ", ".join(filter(None, parts))
            summary = answer_batch(predictor, options.batch, options.output, options.asked, options.top, model)
    except KeyboardInterrupt:
        print("Interrupted. The same command goes on from here.", file=sys.stderr)
        return 130
    print(summary, file=sys.stderr)
    return 1 if summary.errors else 0


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", nargs="?", help="file of the photo; where a task needs none, the text")
    parser.add_argument("question", nargs="?", help="the question, in English")
    parser.add_argument("--batch", metavar="SOURCE", help="answer all rows of a JSON lines file, or a folder's photos")
    parser.add_argument("--question", action="append", default=[], dest="asked", help="what to ask each of them")
    parser.add_argument("--output", help="where --batch writes, a file named .jsonl or .parquet")
    parser.add_argument("--checkpoint", default=checkpoint_folder(), help="model: a folder, or user/model on the hub")
    parser.add_argument("--prompt", help="what an open model is asked, with {image} and {question}")
    parser.add_argument("--calibration", help="of an open model: a file that training.calibrate wrote")
    parser.add_argument("--top", type=int, default=5, help="how many answers (default 5)")
    parser.add_argument("--figure", help="write a picture: the photo under the map of the question and of each word")
    parser.add_argument("--page", type=int, default=1, help="of a PDF that is asked about, from 1")
    parser.add_argument("--json", action="store_true", help="print one JSON object, maps included, instead of text")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    options = parser.parse_args(arguments)
    if options.top < 1:
        parser.error(f"--top is {options.top}; at least 1 is needed.")

    if options.batch and not (options.output and not options.photo):
        parser.error("--batch needs --output, and takes no photo beside it; a folder's question goes to --question.")
    if options.figure and not Path(options.figure).resolve().parent.is_dir():
        parser.error(f"--figure {options.figure}: there is no folder {Path(options.figure).parent}. Make it first.")
    try:
        task = task_of_checkpoint(options.checkpoint)
        if task != "answer":
            if options.batch and not options.asked:
                sys.exit(run_batch(options, task=task))
            given = [value for value in (options.photo, options.question) if value is not None]
            if options.batch or options.asked or options.output or not given:
                parser.error(f"{options.checkpoint} is for the task {task!r}: give a photo, a text, or both.")
            print(ask_task(task, given, options))
            return
    except (OSError, ValueError) as error:
        parser.exit(2, f"{error}\n")
    if not options.batch and (options.question is None or options.asked or options.output):
        parser.error("give a photo and a question, or --batch, which --question and --output belong to.")

    try:
        with starting():
            from valm_core.loading import load_predictor

            predictor = load_predictor(options.checkpoint, options.device, options.prompt, options.calibration)
        if options.batch:
            sys.exit(run_batch(options, predictor))
        photo = predictor.open_photo(options.photo)
        encoded = predictor.encode(photo)
        written = None
        if "write" in predictor.offers:
            written = write(predictor, encoded, options.question, options.top, not options.json)
        prediction, explanation, evidence = predictor.ask(
            encoded, options.question, top=options.top, prediction=written
        )
    except (OSError, ValueError) as error:
        parser.exit(2, f"{error}\n")
    read = read_if_printed(options.photo, prediction)
    if options.json:
        print(json.dumps(reply_json(prediction, explanation, evidence, predictor.facts, read)))
    else:
        print(format_prediction(prediction, evidence, read))
    if options.figure:
        from demo.downloads.question_figure import question_figure

        footer = figure_footer(predictor.facts, prediction)
        try:
            question_figure(photo, prediction, explanation, footer=footer).savefig(options.figure)
        except (OSError, ValueError) as error:  # no room, or an ending that is no format
            parser.exit(2, f"The figure can't be written: {error}\n")


if __name__ == "__main__":
    main()
