"""Fingerprints: which data, weights, answers or settings a stored state belongs to, and what differs from another."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from valm_core.config import CHANGEABLE_SETTINGS, ValmConfig, without_removed
from valm_core.inputs.text import parse_json, read_text
from valm_core.model.encoders.packages import sha256_of

MADE_FROM_FILE = "made_from.json"  # beside a stored state: what it depends on
SMALL_FILE, END_BYTES = 65536, 4096  # what is read whole; of larger files, how much at either end
MAX_NAMED = 6  # differences in a message
MAX_SHOWN = 40  # characters of a value in a message


def fingerprint(value: Any) -> str:
    """The sha256 of a value that JSON can write; the order of keys doesn't count, that of lists does."""
    return hashlib.sha256(_canonical(value).encode()).hexdigest()


def answer_list_fingerprint(answers: list[str]) -> str:
    """What tells an answer list, in the order of the logits, from another."""
    return fingerprint(list(answers))


def content_fingerprint(path: str | Path) -> str:
    """The sha256 of a file, of a JSON file of its values: line ends and indentation don't count.

    Raises:
        OSError: it can't be read.
    """
    values = read_json(path) if Path(path).suffix == ".json" else None
    return sha256_of(path) if values is None else fingerprint(values)


def model_fingerprint(weights_sha256: str, config: Mapping[str, Any]) -> str:
    """What tells a model's answers from another's: its weights, and ``changeable_settings`` of its config."""
    return fingerprint({"weights": weights_sha256, "config": changeable_settings(config)})


def changeable_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``CHANGEABLE_SETTINGS``, of a config given as plain values, that haven't their default value."""
    usual = dataclasses.asdict(ValmConfig())
    return {name: config[name] for name in CHANGEABLE_SETTINGS if config.get(name, usual[name]) != usual[name]}


def config_facts(config: Mapping[str, Any]) -> dict[str, str | float]:
    """What a report must say of a model's config, given as plain values: temperatures, fusion and both encoders."""
    facts: dict[str, str | float] = {"temperature": config["temperature"]}
    facts["yes_no_temperature"] = config.get("yes_no_temperature") or config["temperature"]
    facts["fusion"] = config["fusion"]
    for name in ("text_encoder", "image_encoder"):
        kind, _, source = config[name].partition(":")
        facts[name] = f"{kind}:{Path(source).name if Path(source).is_dir() else source}"  # no path of the server
    return facts


def read_json(path: str | Path) -> Any:
    """The values of a JSON file; None where it is none. Raises OSError."""
    try:
        return parse_json(read_text(path))
    except ValueError:
        return None


def quick_fingerprint(path: str | Path) -> list[Any]:
    """What tells one of many large files from another without reading all of it: name, size and a hash:
    of a small one's content, of a large one's ends.

    A file that can't be read has its name alone; whoever needs it says why.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if size > SMALL_FILE:
                content = file.read(END_BYTES)
                file.seek(-END_BYTES, 2)
                content += file.read()
            else:
                content = file.read()
    except OSError:
        return [path.name]
    return [path.name, size, hashlib.sha256(content).hexdigest()]


def differences(stored: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The names under which two records differ, with both values where they are short enough to read."""
    found = []
    stored, now = without_removed(stored), without_removed(now)
    for name in dict.fromkeys([*stored, *now]):
        before, after = stored.get(name), now.get(name)
        if _canonical(before) == _canonical(after):
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            inside = differences(before, after)
            if not inside:
                continue
            inner = [text for text in inside if "(" in text]
            found.append(f"{name}: {', '.join(inner[:MAX_NAMED])}" if inner else name)
        elif _shown(before) and _shown(after):
            found.append(f"{name} (was {before!r}, is {after!r})")
        else:
            found.append(name)
    return found


def check_same(what: str, stored: Mapping[str, Any], now: Mapping[str, Any], remedy: str) -> None:
    """Refuse a state that depends on something else than what is there now.

    Args:
        what: begins the message, e.g. "runs/mine/last was made with other".
        stored, now: what the state depends on, and what there is.
        remedy: ends the message: how to go on.

    Raises:
        ValueError: in one line, what differs and how to go on.
    """
    found = differences(stored, now)
    if found:
        more = f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
        raise ValueError(f"{what} {', '.join(found[:MAX_NAMED])}{more}. {remedy}")


def _shown(value: Any) -> bool:
    """Whether a value can stand in a message: no record, no hash, no long text."""
    if isinstance(value, str):
        return len(value) <= MAX_SHOWN
    return value is None or isinstance(value, bool | int | float)


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
