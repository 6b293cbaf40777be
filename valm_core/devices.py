"""Where to compute: the device of that name."""

import torch


def choose_device(name: str = "auto") -> torch.device:
    """``auto`` takes cuda, else mps, else cpu; a name takes that device.

    Raises:
        ValueError: the device isn't there.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(device for device, there in available.items() if there))
    if not available.get(name.split(":")[0], False):
        there = ", ".join(device for device, there in available.items() if there)
        raise ValueError(f"device is {name!r}, but here there is only: {there} (or auto).")
    return torch.device(name)
