"""Ask the packaged photos their offered questions and write what the model answers beside them: what the cards say.

Example:
    python -m demo.check_examples

Right is what ``accepted`` in examples.json lists. The page tells the counts only of the checkpoint they were made with.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from demo import ASSETS
from demo.settings import checkpoint_folder
from demo.visit.examples import MODEL_ANSWERS_FILE, Example, read_examples
from valm_core.outputs import Predictor


def check_examples(predictor: Predictor, examples: Sequence[Example]) -> dict:
    """What the model answers to every offered question: the content of model_answers.json.

    Args:
        predictor: with ``encode``, ``answer`` and ``facts``.
        examples: the packaged photos.

    Raises:
        ValueError: a question has no accepted answers.
    """
    replies: dict[str, list[dict]] = {}
    for example in examples:
        photo = predictor.encode(str(example.path))
        for question in example.questions:
            accepted = example.accepted.get(question)
            if not accepted:
                raise ValueError(
                    f"{example.path.name}: “{question}” has no accepted answers in examples.json. Add them."
                )
            answer = predictor.answer(photo, question).answers[0].text
            found = {"question": question, "answer": answer, "right": answer in accepted}
            replies.setdefault(example.path.name, []).append(found)
    return {"model_fingerprint": predictor.facts["model_fingerprint"], "examples": replies}


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default=checkpoint_folder(), help="model folder")
    parser.add_argument("--examples", type=Path, default=ASSETS / "examples", help="folder with examples.json")
    options = parser.parse_args(arguments)
    from valm_core.checkpoints.atomic_files import write_text
    from valm_core.loading import load_predictor

    try:
        predictor = load_predictor(options.checkpoint, "cpu")
        report = check_examples(predictor, read_examples(options.examples))
    except (OSError, ValueError) as error:
        parser.exit(2, f"{error}\n")
    write_text(options.examples / MODEL_ANSWERS_FILE, json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    for file, replies in report["examples"].items():
        print(f"{file}: gets {sum(reply['right'] for reply in replies)} of {len(replies)} right")


if __name__ == "__main__":
    main()
