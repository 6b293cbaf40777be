"""How much memory a model of safetensors files needs, said before it is loaded; what doesn't fit is refused."""

import importlib.util
from math import prod
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

BYTES = {torch.float32: 4.0, torch.bfloat16: 2.0, torch.float16: 2.0}
FOUR_BIT = 0.6  # bytes a parameter, with the scales and what stays in 16 bits
OVERHEAD = 1.15  # activations and attention rows of one question, as a factor of the weights
UNKNOWN = 2**62
MEMINFO, CONTAINER = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
SIZES = (0.25, 0.5, 1, 2, 3, 4, 7, 8, 11, 13, 26, 32, 72)  # billions of parameters that such models come in


def parameters_in(folder: Path) -> int:
    """How many parameters a folder's safetensors files hold, by their headers.

    Raises:
        FileNotFoundError: there are none.
        ValueError: one can't be read.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(
            f"{folder} has no *.safetensors, the only format of weights that is read. Convert it with "
            "`save_pretrained(..., safe_serialization=True)`, or choose another checkpoint."
        )
    return sum(_parameters_of(file) for file in files)


def _parameters_of(file: Path) -> int:
    try:
        with safe_open(file, framework="pt") as opened:
            return sum(prod(opened.get_slice(name).get_shape()) for name in opened.keys())  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(
            f"{file} is damaged or no safetensors file ({error}). Copy it again; a clone without git-lfs has pointers "
            "in place of weights."
        ) from error


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device, ``UNKNOWN`` where that can't be found out; a container's own limit counts."""
    if device.type == "cuda":
        try:
            return int(torch.cuda.mem_get_info(device)[0])
        except RuntimeError:  # ZeroGPU lends the GPU later
            return UNKNOWN
    try:
        lines = MEMINFO.read_text(encoding="utf-8").splitlines()
        free = int(next(line.split()[1] for line in lines if line.startswith("MemAvailable"))) * 1024
    except (OSError, StopIteration, ValueError):
        return UNKNOWN
    try:
        limit, used = (int((CONTAINER / name).read_text(encoding="utf-8")) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return free
    return min(free, max(limit - used, 0))


def choose_precision(
    name: str, parameters: int, device: torch.device, free: int, four_bit_there: bool | None = None
) -> tuple[torch.dtype, bool, str]:
    """The dtype to load in, whether in 4 bits, and a line for people that states the memory it takes.

    bfloat16 on a GPU, float32 on a CPU; 4 bits (bitsandbytes) on a GPU where the model doesn't fit otherwise.

    Args:
        name: of the model, for the line.
        parameters: how many it has.
        device: where it will compute.
        free: bytes that are free there.
        four_bit_there: whether bitsandbytes is installed; None finds out.

    Raises:
        ValueError: it doesn't fit; the line says what would.
    """
    if four_bit_there is None:
        four_bit_there = importlib.util.find_spec("bitsandbytes") is not None
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    size, where = parameters / 1e9, f"{device.type.upper()}"
    precision = str(dtype).removeprefix("torch.")
    needed = parameters * BYTES[dtype] * OVERHEAD
    there = "how much is free isn't known" if free == UNKNOWN else f"{_gigabytes(free)} are free"
    line = f"{name}: {size:.2f} billion parameters in {precision} take {_gigabytes(needed)}; {there}"
    if needed <= free:
        return dtype, False, f"{line} on the {where}."
    if device.type == "cuda" and four_bit_there and (four := parameters * FOUR_BIT * OVERHEAD) <= free:
        return dtype, True, f"{line} on the {where}, so it is loaded in 4 bits, {_gigabytes(four)}."
    fits = free / (BYTES[dtype] * OVERHEAD) / 1e9
    smaller = [f"{candidate:g}B" for candidate in SIZES if candidate <= min(fits, size)][-3:]
    what = f"models of {', '.join(reversed(smaller))} would fit" if smaller else "no such model would fit"
    hint = "" if device.type == "cpu" or four_bit_there else "; `pip install bitsandbytes` allows 4 bits"
    raise ValueError(f"{line} on the {where}: {what}{hint}.")


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB"
