"""How the image encoder is computed on a GPU: in which precision and order of memory, whichever is quickest there.

Depthwise convolutions, most of all dilated ones, differ by an order of magnitude between these, differently on each
card and each version of cuDNN, so it is measured in place of believed.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from valm_core.model.encoders.image_encoder import ImageEncoder

Report = Callable[[str], None]
WARM_UP, TIMED = 2, 3  # steps of each


@dataclass(frozen=True)
class Layout:
    """A precision, bfloat16 or float32, and an order of memory: channels last or first."""

    half: bool
    channels_last: bool

    @property
    def name(self) -> str:
        """For people."""
        return f"{'bfloat16' if self.half else 'float32'}, channels {'last' if self.channels_last else 'first'}"


LAYOUTS = tuple(Layout(half, last) for half in (True, False) for last in (True, False))


def features(encoder: ImageEncoder, pixels: Tensor, layout: Layout) -> Tensor:
    """What ``encoder.features`` gives of pixels [P, 3, S, S], in the precision of a layout that was taken."""
    with torch.autocast(pixels.device.type, torch.bfloat16, enabled=layout.half):
        return encoder.features(pixels)


def take(encoder: ImageEncoder, layout: Layout) -> None:
    """Bring the encoder into the order of memory of a layout."""
    encoder.store_as(torch.channels_last if layout.channels_last else torch.contiguous_format)


def take_quickest(
    encoder: ImageEncoder, pixels: Tensor, layouts: Iterable[Layout] = LAYOUTS, tell: Report = print
) -> Layout:
    """Time a forward and a backward pass in each layout, and take the quickest; gradients are left at None.

    Args:
        encoder: in training, on the device of the pixels.
        pixels: [P, 3, S, S] in 0..1, as many as a step has.
        layouts: what to choose from.
        tell: gets a line for each.
    """
    seconds = {}
    statistics = {name: value.clone() for name, value in encoder.named_buffers()}  # batch statistics move
    for layout in layouts:
        take(encoder, layout)
        seconds[layout] = _seconds_of_a_step(encoder, pixels, layout)
        tell(f"image encoder in {layout.name}: {1000 * seconds[layout]:.0f} ms a step")
    with torch.no_grad():
        for name, value in encoder.named_buffers():
            value.copy_(statistics[name])
    best = min(seconds, key=lambda layout: seconds[layout])
    take(encoder, best)
    return best


def _seconds_of_a_step(encoder: ImageEncoder, pixels: Tensor, layout: Layout) -> float:
    start = 0.0
    for step in range(WARM_UP + TIMED):
        if step == WARM_UP:
            start = _now(pixels.device)
        features(encoder, pixels, layout).float().square().mean().backward()
        encoder.zero_grad(set_to_none=True)
    return (_now(pixels.device) - start) / TIMED


def _now(device: torch.device) -> float:
    """Seconds, after what the device was told to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
