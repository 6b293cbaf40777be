"""Raw attention: the cross-attention weights themselves, averaged over layers and heads."""

import torch

from valm_core.explanations.attention_maps import cross_modal_maps, question_map
from valm_core.model.model import ValmModel
from valm_core.outputs import EncodedImage, EncodedText, Explanation


@torch.no_grad()
def raw_attention(model: ValmModel, text: EncodedText, image: EncodedImage, answer_index: int) -> Explanation:
    """Explain one question by the attention weights of its forward pass.

    A token's map is the mean of its text-to-image weights over layers and heads; for the map of the whole question see
    ``question_map``. Attention says where information was read, not that it changed the answer (Jain & Wallace 2019,
    https://arxiv.org/abs/1902.10186).

    Args:
        model: in evaluation mode.
        text: one encoded question, T tokens without padding.
        image: one encoded photo, N tokens.
        answer_index: not used: attention is the same for every answer.

    Returns:
        An explanation whose T tokens are unnamed word pieces.
    """
    features = model(
        text_tokens=text.tokens, text_mask=text.mask, image_tokens=image.tokens, return_attention=True
    ).features
    text_to_image, image_to_text = cross_modal_maps(features)  # [1, L, H, T, N], [1, L, H, N, T]
    image_map = question_map(features, text_to_image)[0]  # [N]
    return Explanation(
        method="raw_attention",
        tokens=("",) * text.tokens.shape[1],
        image_map=image_map.view(image.grid).cpu().numpy(),
        token_scores=features.text_pooling[0].cpu().numpy(),
        token_to_patch=text_to_image[0].mean(dim=(0, 1)).cpu().numpy(),
        patch_to_token=image_to_text[0].mean(dim=(0, 1)).cpu().numpy(),
        text_to_image=text_to_image[0].cpu().numpy(),
        image_to_text=image_to_text[0].cpu().numpy(),
        grid=image.grid,
        box=image.box,
    )
