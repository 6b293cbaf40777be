"""Put together the folder that is uploaded as a Hugging Face Space, and try it out in a clean environment.

Example:
    python -m hosting.space build/space --try
"""

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

from hosting.starting import ASKING, clean_variables, page_of

ROOT = Path(__file__).parent.parent
# What the page needs, and what the README links to. Only files that git tracks are taken.
PARTS = (
    "app.py",
    "requirements.txt",
    "README.md",
    "README.zh-CN.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "LICENSE",
    "valm_core",
    "demo",
    "assets",
    "docs",
    "training",
)
MARKER = ".assembled"  # only a folder with this file is ever replaced
# On the hub a plain git push is refused for files above 10 MB and for binary ones: these go to large file storage.
LARGE_OR_BINARY = ("safetensors", "jpg", "png", "webp", "ipynb")


def tracked_files(parts: tuple[str, ...] = PARTS) -> list[str]:
    """Paths of the files below ``parts`` that git tracks, relative to the project."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *parts], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [path for path in listed.stdout.split("\0") if path]


def assemble(folder: Path, torch: str = "") -> list[str]:
    """Write the Space to ``folder``, which must be new or an earlier Space, and return the paths in it.

    Args:
        folder: where; an earlier Space there is replaced.
        torch: a version of torch to pin, for ZeroGPU; "" leaves the choice to pip.

    Raises:
        ValueError: the folder holds something else, or a repository, whose history would be lost.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / MARKER).is_file():
        raise ValueError(f"{folder} holds something that this command didn't write. Name a new folder.")
    if (folder / ".git").exists():
        raise ValueError(f"{folder} is a git repository, whose history would be lost. Name a new folder.")
    shutil.rmtree(folder, ignore_errors=True)
    paths = tracked_files()
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, folder / path)
    attributes = [f"*.{ending} filter=lfs diff=lfs merge=lfs -text" for ending in LARGE_OR_BINARY]
    (folder / ".gitattributes").write_text("\n".join(attributes) + "\n", encoding="utf-8")
    (folder / MARKER).write_text("Assembled by `python -m hosting.space`.\n", encoding="utf-8")
    if torch:
        requirements = folder / "requirements.txt"
        pinned = re.sub(r"(?m)^torch[>=].*$", f"torch=={torch}", requirements.read_text(encoding="utf-8"))
        requirements.write_text(pinned, encoding="utf-8")
    return [*paths, ".gitattributes", MARKER]


def try_out(folder: Path, environment: Path) -> None:
    """Install the Space as Spaces does, into a fresh virtual environment, ask it a question, and start it.

    Raises:
        RuntimeError: it ended, or didn't answer in time; the message has its output.
        subprocess.CalledProcessError: the installation or the question failed.
    """
    folder, python = folder.resolve(), environment.resolve() / "bin" / "python"
    gradio = re.search(r"(?m)^sdk_version: (\S+)$", (folder / "README.md").read_text(encoding="utf-8"))[1]
    subprocess.run([sys.executable, "-m", "venv", "--clear", environment], check=True)
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "-r", folder / "requirements.txt", f"gradio=={gradio}"], check=True
    )
    subprocess.run([python, *ASKING], cwd=folder, env=clean_variables(), check=True)
    with page_of([python, "app.py"], folder, environment / "app.log"):
        pass


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where to write the Space")
    parser.add_argument("--torch", default="", metavar="VERSION", help="pin torch, e.g. to a version ZeroGPU has")
    parser.add_argument(
        "--try", dest="trying", action="store_true", help="install it in a clean environment and start it"
    )
    options = parser.parse_args(arguments)
    try:
        paths = assemble(options.folder, options.torch)
    except ValueError as error:
        parser.exit(2, f"{error}\n")
    size = sum((options.folder / path).stat().st_size for path in paths)
    print(f"{options.folder}: {len(paths)} files, {size / 1e6:.1f} MB")
    if options.trying:
        try_out(options.folder, options.folder.with_name(options.folder.name + "-venv"))
        print("It answers a question and serves its page in a clean environment.")
    print(f"Upload it: hf upload USER/SPACE {options.folder} --repo-type space")


if __name__ == "__main__":
    main()
