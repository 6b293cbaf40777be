"""Configs in YAML, as people save them: with or without a byte order mark, and no name twice."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from valm_core.inputs.text import read_text


def read_yaml(path: str | Path) -> Any:
    """What a YAML file holds.

    Raises:
        OSError: it can't be read.
        ValueError: it is no UTF-8 text, or gives a name twice; file and line are named.
        yaml.YAMLError: it is no YAML; file and line are named.
    """
    try:
        loader = _OnceLoader(read_text(path))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text ({error}). Save it as UTF-8.") from error
    loader.name = str(path)  # for the errors
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


class _OnceLoader(yaml.SafeLoader):
    """The safe loader, which by itself takes the last of several values for one name."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        names = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":  # << brings in names that may be given anew
                continue
            name = self.construct_object(key, deep=True)
            if not isinstance(name, Hashable):
                continue  # refused below
            if name in names:
                raise ValueError(f"{self.name}:{key.start_mark.line + 1}: {name!r} is given twice; leave one.")
            names.add(name)
        return super().construct_mapping(node, deep)
