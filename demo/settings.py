"""The page's settings: every environment variable of its own, its form, default and meaning, in one place.

``python -m demo.settings docs/hosting.md`` writes their table into that page.
"""

import argparse
import difflib
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn

from demo import ASSETS
from valm_core.checkpoints.contents import CONFIG_FILE
from valm_core.checkpoints.fingerprints import read_json
from valm_core.checkpoints.hub import is_hub_name

SHIPPED = ASSETS / "checkpoints" / "everyday"
SHIPPED_FINDER = ASSETS / "checkpoints" / "find"
SHIPPED_CAPTIONER = ASSETS / "checkpoints" / "describe"
SHIPPED_READER = ASSETS / "checkpoints" / "read"
FIRST_PORT = 7860  # where no port is set, the first free one from here is taken
MAX_PROXIES = 10
BEGIN, END = "<!-- settings: written by python -m demo.settings docs/hosting.md -->", "<!-- end of settings -->"
BELONG_TO = (  # a setting, the one without which it does nothing, and what that names
    ("feedback_repo", "feedback", "the file of the database"),
    ("collection_index", "collection", "the folder of photos"),
)
OF_OTHERS = (  # read by huggingface_hub
    ("HF_TOKEN", "text", "none", "for private checkpoints"),
    ("HF_HUB_OFFLINE", "`1` or `0`", "`0`", "`1`: use what was downloaded before, ask the hub nothing"),
)


# What a variable's text becomes. Each raises ValueError where the text has another form.


def _text(text: str) -> str:
    return text


def _switch(text: str) -> bool:
    return {"true": True, "1": True, "false": False, "0": False}[text.lower()]


def _whole(least: int, most: int | None = None) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text) <= (most or int(text))):
            raise ValueError
        return int(text)

    return read


def _people(text: str) -> tuple[tuple[str, str], ...]:
    """``name:password`` pairs with commas between, each name once."""
    parts = [part.partition(":") for part in text.split(",") if part.strip()]
    people = tuple((name.strip(), password.strip()) for name, _, password in parts)
    names = {name for name, _ in people}
    if not people or not all(name and password for name, password in people) or len(names) < len(people):
        raise ValueError
    return people


def _folders(text: str) -> tuple[str | Path, ...]:
    if text == "none":
        return ()
    if text == "shipped":
        return shipped_tasks()
    folders = tuple(part.strip() for part in text.split(","))
    if not all(folders):
        raise ValueError(text)
    return folders


def shipped_tasks() -> tuple[Path, ...]:
    """The shipped checkpoints for other tasks than answering: those that are there."""
    places = (ASSETS / "checkpoints" / name for name in ("tag", "relate", "judge", "feel", "read"))
    return tuple(place for place in places if place.is_dir())


def _peers(text: str) -> dict[str, str]:
    """``name=LOCATION`` pairs with commas between, each name once, as {name: location}."""
    peers: dict[str, str] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, _, location = (piece.strip() for piece in part.partition("="))
        config = Path(location) / CONFIG_FILE
        values = read_json(config) if config.is_file() else None
        answers = isinstance(values, dict) and values.get("task", "answer") == "answer"
        if not (name and location and (answers or is_hub_name(location))) or name in peers:
            raise ValueError
        peers[name] = location
    if not peers:
        raise ValueError
    return peers


def _prompt(text: str) -> str:
    if not ("{image}" in text and "{question}" in text):
        raise ValueError
    return text


def _dataset(text: str) -> str:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", text, re.ASCII):
        raise ValueError
    return text


def _address(text: str) -> str:
    if not re.fullmatch(r"https?://[^\s\"'<>]+", text):
        raise ValueError
    return text


def _root_path(text: str) -> str:
    if not re.fullmatch(r"(https?://[^/\s?#]+)?(/[^/\s?#]+)*/?", text):
        raise ValueError
    return text.rstrip("/")


def _variable(
    name: str,
    default: Any,
    allowed: str,
    about: str,
    shown: str = "",
    read: Callable[[str], Any] = _text,
    secret: bool = False,
) -> Any:
    """A field of ``Settings``, and what it is read from.

    Args:
        name: of the environment variable.
        default: where it isn't set.
        allowed: its type and values, for people.
        about: what it does, for people.
        shown: the default for people, where it isn't the field's own.
        read: its text as a value; raises ValueError or KeyError.
        secret: messages don't repeat the text.
    """
    known = {"name": name, "read": read, "allowed": allowed, "about": about, "default": shown, "secret": secret}
    return field(default=default, repr=not secret, metadata=known)


A_MODEL = "a folder, or `user/model` or `user/model@revision` on the Hugging Face hub"
FROM_1 = "a whole number from 1"


@dataclass(frozen=True)
class Settings:
    """What whoever runs the page has set, see ``read_settings``; ``Settings()`` has the defaults."""

    checkpoint: str | Path = _variable("VALM_CHECKPOINT", SHIPPED, A_MODEL, "the model", "the shipped model")
    prompt: str | None = _variable(
        "VALM_PROMPT",
        None,
        "text with `{image}` and `{question}`",
        "what an open vision-language model is asked; a chat template goes around it",
        "its family's",
        read=_prompt,
    )
    calibration: str = _variable(
        "VALM_CALIBRATION",
        "",
        "a file that `python -m training.calibrate` wrote of this model and prompt",
        "makes an open vision-language model's percentages chances of being right",
        "none, they are called not calibrated",
    )
    find_checkpoint: str | Path = _variable(
        "VALM_FIND_CHECKPOINT",
        SHIPPED_FINDER,
        A_MODEL,
        "the model that finds photos (`valm-find`)",
        "the shipped model",
    )
    gpu_seconds: int = _variable(
        "VALM_GPU_SECONDS",
        30,
        "a whole number from 1 to 600",
        "on a ZeroGPU Space: for how long a call may borrow the GPU; an open model with its evidence takes longer "
        "than the shipped one",
        read=_whole(1, 600),
    )
    collection: str = _variable(
        "VALM_COLLECTION",
        "",
        "a folder",
        "the page has a second one, Find, that looks through this folder's photos; every visitor may see them",
        "none, there is no such page",
    )
    collection_index: str = _variable(
        "VALM_COLLECTION_INDEX",
        "",
        "a file outside of that folder",
        "where what is known of the collection's photos is kept",
        "beside the folder, `FOLDER.valm-index`",
    )
    more: tuple[str | Path, ...] = _variable(
        "VALM_MORE",
        shipped_tasks(),
        "folders of checkpoints that tag, relate, judge, feel or read, with commas between; `shipped`; `none`",
        "what the page More offers, and what reads printed pages on the first page; `none` for neither; reading needs "
        "the extra `read`",
        "`shipped`",
        read=_folders,
    )
    describe_checkpoint: str | Path = _variable(
        "VALM_DESCRIBE_CHECKPOINT",
        SHIPPED_CAPTIONER,
        A_MODEL,
        "the model that describes photos (`valm-describe`, and on the page “Describe this photo”)",
        "the shipped model",
    )
    compare: Mapping[str, str] | None = _variable(
        "VALM_COMPARE",
        None,
        "`name=LOCATION` with commas between, each name once; a location is a model's folder or a name on the hub",
        "models to compare with, e.g. `vilt=dandelin/vilt-b32-finetuned-vqa`",
        read=_peers,
    )
    server_name: str = _variable(
        "GRADIO_SERVER_NAME",
        "",
        "an address or name of this machine, IPv4 or IPv6",
        "where the page is served; `0.0.0.0` lets other machines in, so think of who can reach it first",
        "`127.0.0.1`; on a Space `0.0.0.0`",
    )
    server_port: int | None = _variable(
        "GRADIO_SERVER_PORT",
        None,
        "a whole number from 1 to 65535",
        "the port; one that is in use is an error",
        f"the first free one from {FIRST_PORT}",
        read=_whole(1, 65535),
    )
    root_path: str = _variable(
        "GRADIO_ROOT_PATH",
        "",
        "a path that begins with `/`, or an `https://` address",
        "the path under which a proxy shows the page, e.g. `/valm`",
        read=_root_path,
    )
    temp_dir: str = _variable(
        "GRADIO_TEMP_DIR",
        "",
        "a folder that can be written; it is made where missing",
        "where uploaded photos lie until they are deleted; visitors can download whatever lies there",
        "a new folder among the system's temporary ones, deleted when the page ends",
    )
    source_url: str = _variable(
        "VALM_SOURCE_URL",
        "",
        "an `https://` address",
        "where the source of this page can be read; *About* links to it",
        "none; on a Space its files",
        read=_address,
    )
    run_history: bool = _variable(
        "GRADIO_RUN_HISTORY",
        False,
        "`True` or `False`",
        "`True`: the visitor's browser keeps earlier questions",
        read=_switch,
    )
    analytics: bool = _variable(
        "GRADIO_ANALYTICS_ENABLED",
        False,
        "`True` or `False`",
        "`True`: gradio tells its makers that a page was started",
        read=_switch,
    )
    auth: tuple[tuple[str, str], ...] = _variable(
        "VALM_AUTH",
        (),
        "`name:password`, several with commas between, each name once",
        "who may open the page: there is a login",
        "everybody",
        read=_people,
        secret=True,
    )
    requests_per_minute: int = _variable(
        "VALM_REQUESTS_PER_MINUTE",
        0,
        "a whole number from 0",
        "calls that one visitor's address may make in a minute (a question takes about seven); `0` is no limit",
        read=_whole(0),
    )
    trusted_proxies: int = _variable(
        "VALM_TRUSTED_PROXIES",
        0,
        f"a whole number from 0 to {MAX_PROXIES}",
        "how many proxies of yours stand before the page, one behind the other: the address that the first of them "
        "saw counts as the visitor's, whatever the visitor wrote into `X-Forwarded-For`",
        read=_whole(0, MAX_PROXIES),
    )
    mcp: bool = _variable(
        "VALM_MCP",
        True,
        "`1` or `0`",
        "`0`: the API's endpoints are no tools of an MCP server, even where `mcp` is installed",
        "`1`",
        read=_switch,
    )
    feedback: str = _variable(
        "VALM_FEEDBACK",
        "",
        "a file in a folder that can be written; both are made where missing",
        'the form "Wrong? Correct me" is on and keeps corrections there; docs/corrections.md tells about it',
        "none, the form is off",
    )
    feedback_repo: str = _variable(
        "VALM_FEEDBACK_REPO",
        "",
        "`user/dataset` on the hub; needs `VALM_FEEDBACK` and `HF_TOKEN`",
        "a private dataset that corrections are uploaded to",
        read=_dataset,
    )
    feedback_mb: int = _variable(
        "VALM_FEEDBACK_MB", 500, FROM_1, "how many megabytes of corrections are kept", read=_whole(1)
    )
    feedback_days: int = _variable(
        "VALM_FEEDBACK_DAYS",
        365,
        "a whole number from 1 to 36500",
        "after how many days a correction is deleted",
        read=_whole(1, 36500),
    )
    feedback_contact: str = _variable(
        "VALM_FEEDBACK_CONTACT",
        "",
        "text",
        "whom to ask for the deletion of a correction",
        "whoever gave out the page's address",
    )
    space: str = ""  # SPACE_ID, which Hugging Face sets: user/space

    @property
    def address(self) -> str:
        """Where the page is served, without the brackets of an IPv6 address."""
        name = self.server_name or ("0.0.0.0" if self.space else "127.0.0.1")  # noqa: S104, as Spaces ask
        return name[1:-1] if name.startswith("[") and name.endswith("]") else name


VARIABLES = {one.metadata["name"]: one for one in fields(Settings) if one.metadata}


def read_settings(environment: Mapping[str, str]) -> Settings:
    """The settings out of the environment; a variable that is empty counts as not set.

    Raises:
        ValueError: a variable has another form, or its name is a slip of another's. The message is one line.
    """
    for name in environment:
        alike = 0.85 if name.startswith("VALM_") else 0.9  # gradio has more names, much like these
        if name.startswith(("VALM_", "GRADIO_")) and name not in VARIABLES:
            meant = difflib.get_close_matches(name, VARIABLES, 1, alike)
            if meant:
                raise ValueError(f"{name} is no setting. Did you mean {meant[0]}?")
    values = {one.name: read_variable(name, environment) for name, one in VARIABLES.items()}
    for name, needed, what in BELONG_TO:
        if values[name] and not values[needed]:
            own, other = f"VALM_{name.upper()}", f"VALM_{needed.upper()}"
            raise ValueError(f"{own} is set, but not {other}, {what}. Set both.")
    return Settings(**values, space=environment.get("SPACE_ID", ""))


def read_variable(name: str, environment: Mapping[str, str] = os.environ) -> Any:
    """The value of one variable, its default where it isn't set. Raises ValueError, see ``read_settings``."""
    one = VARIABLES[name]
    text = environment.get(name, "").strip()
    if not text:
        return one.default
    try:
        return one.metadata["read"](text)
    except (ValueError, KeyError) as error:
        fault = f"{name} has another form" if one.metadata["secret"] else f"{name} is {text!r}"
        allowed = one.metadata["allowed"].replace("`", "")
        raise ValueError(f"{fault}; allowed: {allowed}. Change it, or unset it.") from error


def gpu_seconds() -> int:
    """For how long a call may borrow the GPU of a ZeroGPU Space. Raises ValueError, see ``read_settings``."""
    return int(read_variable("VALM_GPU_SECONDS"))


def on_zero_gpu() -> bool:
    """Whether this is a Space with ZeroGPU, which lends its GPU to single calls."""
    return bool(os.environ.get("SPACES_ZERO_GPU"))


def device_beside() -> str:
    """Where the models beside the one that answers compute: on ZeroGPU, which is lent to that one's calls alone, on the
    CPU."""
    return "cpu" if on_zero_gpu() else "auto"


def checkpoint_folder() -> str | Path:
    """The model to use: ``VALM_CHECKPOINT``, a folder or a hub name, where it is set, else the one that is shipped."""
    return read_variable("VALM_CHECKPOINT")


def settings_table() -> str:
    """The variables as a Markdown table."""
    rows = [("variable", "type, allowed values", "default", "what it does"), ("---",) * 4]
    for name, one in VARIABLES.items():
        known = one.metadata
        default = known["default"] or ("none" if one.default in ("", None) else f"`{one.default}`")
        rows.append((f"`{name}`", known["allowed"], default, known["about"]))
    rows += [(f"`{name}`", allowed, default, about) for name, allowed, default, about in OF_OTHERS]
    return "\n".join(f"| {' | '.join(row)} |" if row[0] != "---" else "|---|---|---|---|" for row in rows)


def with_table(page: str) -> str:
    """A page's text with the table between its two markers. Raises ValueError without markers."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"The page lacks the lines {BEGIN} and {END}. Add them where the table belongs.")
    return f"{before}{BEGIN}\n\n{settings_table()}\n\n{END}{after}"


def main(arguments: list[str] | None = None) -> None:
    """The command line: write the table into a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path, help="a Markdown file with the two markers, docs/hosting.md")
    page = parser.parse_args(arguments).page
    try:
        page.write_text(with_table(page.read_text(encoding="utf-8")), encoding="utf-8")
    except (OSError, ValueError) as error:
        stop(error)


def stop(error: object) -> NoReturn:
    """End the process with one line on why, and exit code 2."""
    print(" ".join(str(error).split()), file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
