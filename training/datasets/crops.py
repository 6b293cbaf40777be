"""Photos shown a little differently each time: random crops, mirrored or not, in another light."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

MIN_AREA = 0.6  # of a photo, that a crop keeps
STRETCH, CONTRAST, BRIGHTNESS, TINT = 0.07, 0.2, 0.1, 0.05  # how far each goes, up and down


@dataclass(frozen=True)
class Crops:
    """Where P crops lie in their photos, in 0..1: ``corner`` [P, 2] (x, y), ``size`` [P, 2]; ``mirrored`` [P]."""

    corner: Tensor
    size: Tensor
    mirrored: Tensor


def draw_crops(count: int, generator: torch.Generator | None = None, device: torch.device | str = "cpu") -> Crops:
    """``count`` crops, each of ``MIN_AREA`` of a photo or more, stretched a little; half of them mirrored."""
    size = torch.sqrt(_between(MIN_AREA, 1.0, (count, 1), generator, device))
    size = (size * _between(1 - STRETCH, 1 + STRETCH, (count, 2), generator, device)).clamp(max=1.0)
    corner = torch.rand(count, 2, generator=generator, device=device) * (1 - size)
    return Crops(corner, size, torch.rand(count, generator=generator, device=device) < 0.5)


def cropped(photos: Tensor, crops: Crops, side: int, generator: torch.Generator | None = None) -> Tensor:
    """Crops of photos [P, 3, S, S] in 0..1, as squares [P, 3, side, side] of other brightness and contrast, in 0..1."""
    count, device = len(photos), photos.device
    theta = torch.zeros(count, 2, 3, device=device)
    theta[:, 0, 0] = torch.where(crops.mirrored, -crops.size[:, 0], crops.size[:, 0])
    theta[:, 1, 1] = crops.size[:, 1]
    theta[:, :, 2] = 2 * crops.corner + crops.size - 1
    grid = functional.affine_grid(theta, [count, 3, side, side], align_corners=False)
    pixels = functional.grid_sample(photos, grid, padding_mode="reflection", align_corners=False)
    contrast = _between(1 - CONTRAST, 1 + CONTRAST, (count, 1, 1, 1), generator, device)
    bright = _between(-BRIGHTNESS, BRIGHTNESS, (count, 1, 1, 1), generator, device)
    tint = _between(1 - TINT, 1 + TINT, (count, 3, 1, 1), generator, device)
    mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
    return (((pixels - mean) * contrast + mean + bright) * tint).clamp(0, 1)


def _between(
    low: float, high: float, shape: tuple[int, ...], generator: torch.Generator | None, device: torch.device | str
) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator, device=device)
