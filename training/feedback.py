"""Turn people's corrections into training data.

Example:
    python -m training.feedback export --database feedback/corrections.db --output my/corrections
"""

import argparse
import json
from pathlib import Path

from valm_core.corrections import read_corrections
from valm_core.files import replace_folder


def export(database: str | Path, output: str | Path) -> int:
    """Write ``corrections.jsonl`` and its ``photos`` into the folder ``output``, whole or not at all.

    The folder must be new, empty or an earlier export, which is replaced.

    Returns:
        How many rows were written.

    Raises:
        OSError: the database can't be read or the folder not be written.
        ValueError: the database is empty, or ``output`` holds other files.
    """
    output = Path(output)
    ours = {"corrections.jsonl", "photos"}
    if output.exists() and (not output.is_dir() or {path.name for path in output.iterdir()} - ours):
        raise ValueError(f"output is {str(output)!r}, which holds other files. Name a new folder.")
    corrections = list(read_corrections(database))
    if not corrections:
        raise ValueError(f"{database} holds no correction yet.")
    with replace_folder(output) as folder:
        (folder / "photos").mkdir()
        lines = []
        for correction in corrections:
            photo = folder / "photos" / f"{correction.photo}.jpg"
            photo.write_bytes(correction.jpeg)
            row = {"image": f"photos/{photo.name}", "question": correction.question, "answer": correction.right_answer}
            lines.append(json.dumps(row | {"source": "feedback"}, ensure_ascii=False) + "\n")
        (folder / "corrections.jsonl").write_text("".join(lines), encoding="utf-8")
    return len(lines)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("export", help="write the corrections as JSON lines with their photos")
    command.add_argument("--database", required=True, help="the SQLite file of valm_core.corrections")
    command.add_argument("--output", required=True, help="folder for corrections.jsonl and photos/")
    options = parser.parse_args(arguments)
    try:
        rows = export(options.database, options.output)
    except (OSError, ValueError) as error:
        parser.exit(2, f"{error}\n")
    print(f"{rows} rows are in {Path(options.output) / 'corrections.jsonl'}.")


if __name__ == "__main__":
    main()
