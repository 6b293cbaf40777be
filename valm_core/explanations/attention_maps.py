"""From a fusion's list of maps to what lies between text and image, whichever family the fusion is of."""

import torch
from torch import Tensor

from valm_core.outputs import FusedFeatures


def cross_modal_maps(features: FusedFeatures) -> tuple[Tensor, Tensor]:
    """Stack the maps between the modalities, in computation order.

    Of a joint map the block between text and image is cut out and its rows scaled to sum to 1: they say where among the
    cells a token looked, not how much it looked at the photo at all.

    Args:
        features: of a forward pass with ``return_attention``.

    Returns:
        text_to_image [B, L, H, T, N] and image_to_text [B, L, H, N, T], rows summing to 1.

    Raises:
        ValueError: the features hold no map between text and image.
    """
    length = features.text_tokens.shape[1]
    text_to_image, image_to_text = [], []
    for step in features.attention:
        if step.query == step.key == "joint":
            text_to_image.append(_rows_to_one(step.weights[:, :, :length, length:]))
            image_to_text.append(_rows_to_one(step.weights[:, :, length:, :length]))
        elif (step.query, step.key) == ("text", "image"):
            text_to_image.append(step.weights)
        elif (step.query, step.key) == ("image", "text"):
            image_to_text.append(step.weights)
    if not text_to_image or not image_to_text:
        raise ValueError("There is no map between text and image. Run the model with `return_attention=True`.")
    return torch.stack(text_to_image, dim=1), torch.stack(image_to_text, dim=1)


def question_map(features: FusedFeatures, text_to_image: Tensor) -> Tensor:
    """Where the whole question looked: [B, N], rows summing to 1.

    Follows how the answer vector is put together: the gate's share goes to the tokens' maps (mean over layers and
    heads), weighted by the text pooling, the rest to the image pooling.

    Args:
        features: of the same forward pass.
        text_to_image: [B, L, H, T, N], see ``cross_modal_maps``.
    """
    token_maps = text_to_image.mean(dim=(1, 2))  # [B, T, N]
    from_text = torch.einsum("bt,btn->bn", features.text_pooling, token_maps)
    gate = features.gate[:, None]  # [B, 1]
    return gate * from_text + (1 - gate) * features.image_pooling


def _rows_to_one(weights: Tensor) -> Tensor:
    return weights / weights.sum(dim=-1, keepdim=True).clamp_min(1e-9)
