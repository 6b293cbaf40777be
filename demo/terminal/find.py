"""Find photos of a folder by words, the ones most like a given photo, or the lines of a file that fit a photo.

Examples:
    python -m demo.find holidays "a dog on a beach"
    python -m demo.find holidays --photo beach.jpg --top 5
    python -m demo.find holidays "a red car" --maps found
    python -m demo.find holidays "two children play in the snow" --closely
    python -m demo.find captions.txt --photo beach.jpg

The first time every photo is encoded, later only what is new. What is kept of them lies beside the folder, in
FOLDER.valm-index, or where --index says. Exit code: 0, 2 where nothing could be done, 130 when interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from demo.settings import read_variable
from valm_core.commands import starting
from valm_core.inputs.text import printable

if TYPE_CHECKING:  # imported for real in main, so that -h and a wrong argument answer at once
    from valm_core.retrieval.finder import PhotoFinder
    from valm_core.retrieval.index import Found, PhotoIndex
    from valm_core.retrieval.matching import Finder, Query

MAX_NAMED = 5  # faulty photos that are named


def format_found(found: list[Found]) -> str:
    """What was found, a photo a line: score, what such a score means, name."""
    lines = []
    for place, one in enumerate(found, 1):
        sure = f"  {one.found_share:4.0%} of such searches found theirs" if one.found_share is not None else ""
        lines.append(f"{place:>4}  {one.score:7.2f}{sure if place == 1 else ''}  {printable(one.name)}")
    return "\n".join(lines)


def write_maps(finder: Finder, query: Query, photos: list[Path], folder: Path) -> None:
    """For each photo a picture, ``NUMBER-NAME.png``: it plain, under the map of all words, and under that of each."""
    from demo.rendering.word_sheet import sheet_name, word_sheet
    from valm_core.inputs.photo import open_photo

    folder.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(photos, 1):
        word_sheet(open_photo(path), finder.explain(query, path)).save(folder / sheet_name(number, path))


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="whose photos to look through, at any depth; or a text file, a caption a line")
    parser.add_argument("words", nargs="?", help="what to look for, in English")
    parser.add_argument("--photo", help="look for photos like this one, or lines that fit it, instead")
    parser.add_argument("--top", type=int, default=10, help="how many photos (default 10)")
    parser.add_argument("--index", help="file to keep what is known of the photos in (default: FOLDER.valm-index)")
    parser.add_argument(
        "--maps", metavar="FOLDER", help="write a picture a found photo: which cells matched which word"
    )
    parser.add_argument(
        "--closely",
        action="store_true",
        help="read the best photos once more, by the model that describes photos: better, but slow",
    )
    parser.add_argument("--checkpoint", default=read_variable("VALM_FIND_CHECKPOINT"), help="model folder")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    options = parser.parse_args(arguments)
    if (options.words is None) == (options.photo is None):
        parser.error("say what to look for: words, or --photo FILE")
    if options.maps and options.words is None:
        parser.error("--maps shows which cells matched which word: give words")
    if options.closely and options.words is None:
        parser.error("--closely reads the photos for words: give words")
    if options.top < 1:
        parser.error(f"--top is {options.top}; a number above 0 is needed")
    folder = Path(options.folder)
    if folder.is_file() and options.photo is not None:
        _rank_lines(parser, options)
        return
    if not folder.is_dir():
        parser.exit(2, f"There is no folder {printable(options.folder)!r}. Check the path.\n")

    try:
        finder = _load_finder(options)
        from valm_core.retrieval.index import PhotoIndex, index_beside

        # What is looked for is read first: a folder isn't encoded for words that can't be used.
        query = finder.encode_words(options.words) if options.words is not None else None
        keys = finder.encode_photos([options.photo]) if options.photo is not None else None
        index = PhotoIndex(options.index or index_beside(folder), folder, finder)
        _tell_changes(index)
        if query is not None:
            found = _read_closely(index, query, options) if options.closely else index.search(query, options.top)
        elif keys is not None:
            found = index.similar(keys, options.top)
        if options.maps and query is not None:
            write_maps(finder, query, [index.file_of(one.name) for one in found], Path(options.maps))
    except KeyboardInterrupt:
        parser.exit(130, "Interrupted. The same command goes on from here.\n")
    except (OSError, ValueError) as error:
        parser.exit(2, f"{error}\n")
    if not len(index):
        parser.exit(2, f"{printable(options.folder)} has no photo that can be read.\n")
    if options.json:
        rows = [{"photo": one.name, "score": one.score, "found_share": one.found_share} for one in found]
        print(json.dumps({"words": options.words, "photos": len(index), "found": rows}))
    else:
        print(format_found(found))


def _read_closely(index: PhotoIndex, query: Query, options: argparse.Namespace) -> list[Found]:
    """The best photos, ordered once more by the model that describes photos; tells on stderr how far it is."""
    from valm_core.captions.captioner import Captioner
    from valm_core.retrieval.reranking import READ_AGAIN, read_again

    captioner = Captioner.from_checkpoint(read_variable("VALM_DESCRIBE_CHECKPOINT"), options.device)

    def progress(done: int, total: int) -> None:
        print(f"\r{done} of {total} photos read closely", end="\n" * (done == total), file=sys.stderr, flush=True)

    found = index.search(query, max(options.top, READ_AGAIN))
    return read_again(captioner, query.text, found, index.file_of, progress)[: options.top]


def _load_finder(options: argparse.Namespace) -> PhotoFinder:
    """The model that ``options`` name. Raises OSError or ValueError where it can't be used."""
    with starting():
        from valm_core.retrieval.finder import PhotoFinder

        return PhotoFinder.from_checkpoint(options.checkpoint, options.device)


def _rank_lines(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Print the lines of a file that fit a photo best."""
    from valm_core.inputs.text import read_text

    try:
        written = [line for line in read_text(options.folder).split("\n") if line.strip()]
        lines = [line for line in written if any(map(str.isalnum, line))]
        if left_out := len(written) - len(lines):
            print(f"{left_out} of {len(written)} lines have no letter and are left out.", file=sys.stderr)
        if not lines:
            raise ValueError(f"{options.folder} has no line with a letter. Write a caption on each.")
        finder = _load_finder(options)
        ranked = finder.rank_texts(lines, options.photo)[: options.top]
    except (OSError, ValueError) as error:
        parser.exit(2, f"{error}\n")
    if options.json:
        print(json.dumps({"texts": len(lines), "found": [{"text": text, "score": score} for text, score in ranked]}))
    else:
        print("\n".join(f"{place:>4}  {score:7.2f}  {text}" for place, (text, score) in enumerate(ranked, 1)))


def _tell_changes(index: PhotoIndex) -> None:
    """Bring the index up to date, telling on stderr how far it is, what changed, and what couldn't be read."""

    def progress(done: int, total: int) -> None:
        if total:
            print(f"\r{done} of {total} new photos", end="\n" if done == total else "", file=sys.stderr, flush=True)

    changes = index.update(progress)
    for name, fault in list(changes.faults.items())[:MAX_NAMED]:
        print(f"{printable(name)}: {fault}", file=sys.stderr)
    if len(changes.faults) > MAX_NAMED:
        print(f"{len(changes.faults) - MAX_NAMED} more could not be read.", file=sys.stderr)
    if changes.added or changes.removed:
        print(f"Photos: {changes.added} added, {changes.removed} removed, {changes.kept} as before.", file=sys.stderr)


if __name__ == "__main__":
    main()
