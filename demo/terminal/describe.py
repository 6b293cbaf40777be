"""Describe photos in a sentence each, and show for every word where it was read.

Examples:
    python -m demo.describe assets/examples/cat.jpg
    python -m demo.describe holidays/*.jpg --json > described.jsonl
    python -m demo.describe beach.jpg --figures maps

Below a description stands every word with the model's probability for it and what its map is worth: whether the word
becomes less likely once the cells are hidden that it was read from. Exit code: 0, 1 where a photo could not be
described, 2 where none could.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from demo.downloads.files import description_json
from demo.settings import read_variable
from valm_core.commands import starting
from valm_core.inputs.text import printable

if TYPE_CHECKING:  # imported for real in main, so that -h and a wrong argument answer at once
    from valm_core.captions.describing import Description


def format_description(photo: str, description: Description) -> str:
    """The description, and a line for every word: its probability and what its map is worth."""
    width = max(len(word.text) for word in description.words)
    lines = [f"{printable(photo)}: {description.text}"]
    lines += [f"    {word.text:<{width}}  {word.probability:4.0%}  {word.verdict}" for word in description.words]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", metavar="photo", help="file of a photo")
    parser.add_argument("--beams", type=int, default=3, help="descriptions followed side by side, 1 to 10 (default 3)")
    parser.add_argument("--json", action="store_true", help="print one JSON object a photo, maps included")
    parser.add_argument("--figures", metavar="FOLDER", help="write a picture a photo: it under the map of each word")
    shipped = read_variable("VALM_DESCRIBE_CHECKPOINT")
    parser.add_argument("--checkpoint", default=shipped, help="model: a folder, or user/model on the hub")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    options = parser.parse_args(arguments)

    with starting():
        from demo.rendering.word_sheet import sheet_name, word_sheet
        from valm_core.captions.captioner import Captioner
        from valm_core.captions.describing import MAX_BEAMS
        from valm_core.inputs.photo import open_photo
        from valm_core.outputs import InputError

    if not 1 <= options.beams <= MAX_BEAMS:
        parser.error(f"--beams is {options.beams}; allowed: 1 to {MAX_BEAMS}.")
    faults = 0
    try:
        with starting():
            captioner = Captioner.from_checkpoint(options.checkpoint, options.device)
        if options.figures:
            Path(options.figures).mkdir(parents=True, exist_ok=True)
        for number, name in enumerate(options.photos, 1):
            try:
                photo = open_photo(name)
                description = captioner.describe(photo, options.beams)
            except InputError as error:
                faults += 1
                print(f"{printable(name)}: {error}", file=sys.stderr)
                continue
            record = json.dumps({"photo": name} | description_json(description)) if options.json else ""
            print(record or format_description(name, description), flush=True)
            if options.figures:
                sheet = word_sheet(photo, description.explanation())
                sheet.save(Path(options.figures) / sheet_name(number, name))
    except (OSError, ValueError) as error:
        parser.exit(2, f"{error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "Interrupted.\n")
    if faults:
        sys.exit(2 if faults == len(options.photos) else 1)


if __name__ == "__main__":
    main()
