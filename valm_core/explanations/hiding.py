"""Hiding parts of a photo, as tokens and as pixels, and asking again: what occlusion and every measure are made of."""

import torch
from torch import Tensor
from torch.nn import functional as F

from valm_core.model.model import ValmModel
from valm_core.outputs import EncodedImage, EncodedText
from valm_core.stopping import stop_if_unwanted

TOKEN_BATCH, PIXEL_BATCH = 40, 16  # variants answered at once (a verdict needs 37), photos encoded at once


def without_cells(model: ValmModel, tokens: Tensor, hidden: Tensor) -> Tensor:
    """Image tokens [1, N, D] with the cells of each variant, hidden [F, N], as the training data's average token."""
    return torch.where(hidden[..., None], model.mean_image_token.to(tokens), tokens)  # [F, N, D]


@torch.no_grad()
def logits_without_cells(model: ValmModel, text: EncodedText, image: EncodedImage, hidden: Tensor) -> Tensor:
    """Ask again with cells replaced by the average image token of the training data.

    Before cells read each other, a cell is the same in all variants that show it: what is made of it, and how much it
    resembles each word, is found once.

    Args:
        model: in evaluation mode.
        text: one encoded question.
        image: one encoded photo, N tokens.
        hidden: [F, N], True where a cell is hidden: F variants.

    Returns:
        Logits [F, A].
    """
    shown = model.compare(text.tokens, model.prepare(image.tokens, image.grid))
    average = model.prepare(model.mean_image_token.to(image.tokens)[None, None], (1, 1))
    average = model.compare(text.tokens, average)
    logits = []
    for part in hidden.to(image.tokens.device).split(TOKEN_BATCH):
        stop_if_unwanted()
        count = len(part)
        tokens, mask = text.tokens.expand(count, -1, -1), text.mask.expand(count, -1)
        logits.append(model(text_tokens=tokens, text_mask=mask, cells=shown.hidden(part, average)).logits)
    return torch.cat(logits).float()


@torch.no_grad()
def logits_without_pixels(
    model: ValmModel, text: EncodedText, pixels: Tensor, hidden: Tensor, fill: str = "blur"
) -> Tensor:
    """Ask again with rectangles of the photo hidden before the image encoder sees it.

    Args:
        model: in evaluation mode.
        text: one encoded question.
        pixels: [3, S, S] in 0..1.
        hidden: [F, rows, columns], True where a rectangle is hidden: F variants on any grid of at most S x S.
        fill: what hidden pixels show, a key of ``FILLS``.

    Returns:
        Logits [F, A].

    Raises:
        ValueError: an unknown fill.
    """
    if fill not in FILLS:
        raise ValueError(f"fill is {fill!r}; allowed: {', '.join(FILLS)}.")
    filled = FILLS[fill](pixels)
    mask = stretch(hidden, (pixels.shape[1], pixels.shape[2])).to(pixels.device)  # [F, S, S]
    logits = []
    for part in mask.split(PIXEL_BATCH):
        stop_if_unwanted()
        image = model.encode_image(torch.where(part[:, None], filled, pixels))
        logits.append(
            model(
                text_tokens=text.tokens.expand(len(part), -1, -1),
                text_mask=text.mask.expand(len(part), -1),
                image_tokens=image.tokens,
            ).logits
        )
    return torch.cat(logits).float()


def stretch(cells: Tensor, size: tuple[int, int]) -> Tensor:
    """cells [F, rows, columns], true or false -> [F, height, width], every pixel as its cell."""
    return F.interpolate(cells[:, None].float(), size, mode="nearest")[:, 0] > 0


def blurred(pixels: Tensor) -> Tensor:
    """pixels [3, S, S] -> the same under a Gaussian blur of deviation S / 16: colours stay, shapes go."""
    from torchvision.transforms.functional import gaussian_blur  # here, so that the page starts without it

    side = pixels.shape[-1]
    width = 2 * min(int(3 * side / 16), side - 1) + 1  # three deviations to either side
    for kernel in ([width, 1], [1, width]):  # a square kernel in one go takes some width / 2 times as long
        pixels = gaussian_blur(pixels, kernel, side / 16)
    return pixels


def mean_filled(pixels: Tensor) -> Tensor:
    """pixels [3, S, S] -> the photo's mean colour everywhere."""
    return pixels.mean(dim=(1, 2), keepdim=True).expand_as(pixels)


FILLS = {"blur": blurred, "mean": mean_filled}
