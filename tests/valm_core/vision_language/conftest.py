"""One tiny checkpoint a family, written and loaded once."""

import functools

import pytest
import torch
from tiny_vision_language import build_tiny

from valm_core.vision_language.loading import load_reader


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """``tiny_folder(name)``: the folder of a family's tiny checkpoint."""

    @functools.cache
    def folder(name: str):
        return build_tiny(name, tmp_path_factory.mktemp("tiny") / name)

    return folder


@pytest.fixture(scope="session")
def tiny_reader(tiny_folder):
    """``tiny_reader(name)``: the reader of a family's tiny checkpoint, on the CPU."""

    @functools.cache
    def reader(name: str):
        return load_reader(tiny_folder(name), torch.device("cpu"))

    return reader
