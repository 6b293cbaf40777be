"""Packaged weights: found, and refused when they aren't the expected ones."""

import dataclasses

import pytest

from valm_core import packages


@pytest.mark.parametrize("name", packages.PACKAGES)
def test_the_installed_weights_are_the_expected_ones(name):
    assert packages.packaged_file(name).is_file()


def test_other_weights_are_refused(monkeypatch):
    package = dataclasses.replace(packages.PACKAGES["efficientnet-lite0"], sha256="0" * 64)
    monkeypatch.setitem(packages.PACKAGES, "changed", package)
    with pytest.raises(ValueError, match="expected 0000"):
        packages.packaged_file("changed")


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    package = dataclasses.replace(packages.PACKAGES["efficientnet-lite0"], module="not_there", distribution="not-there")
    monkeypatch.setitem(packages.PACKAGES, "missing", package)
    with pytest.raises(FileNotFoundError, match="pip install not-there"):
        packages.packaged_file("missing")
