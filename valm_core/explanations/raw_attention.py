"""Raw attention: the cross-attention weights themselves, averaged over layers and heads."""

import torch

from valm_core.model import ValmModel
from valm_core.outputs import EncodedImage, EncodedText, Explanation


@torch.no_grad()
def raw_attention(model: ValmModel, text: EncodedText, image: EncodedImage, answer_index: int) -> Explanation:
    """Explain one question by the attention weights of its forward pass.

    A token's map is the mean of its text-to-image weights over layers and heads. The map of the whole question follows
    how the answer vector is put together: the gate's share goes to the tokens' maps, weighted by the text pooling, the
    rest to the image pooling. Attention says where information was read, not that it changed the answer
    (Jain & Wallace 2019, https://arxiv.org/abs/1902.10186).

    Args:
        model: in evaluation mode, with a fusion that has text-to-image and image-to-text maps.
        text: one encoded question, T tokens without padding.
        image: one encoded photo, N tokens.
        answer_index: not used: attention is the same for every answer.

    Returns:
        An explanation whose T tokens are unnamed word pieces.
    """
    features = model(
        text_tokens=text.tokens, text_mask=text.mask, image_tokens=image.tokens, return_attention=True
    ).features
    text_to_image = torch.cat(
        [step.weights for step in features.attention if (step.query, step.key) == ("text", "image")]
    )
    image_to_text = torch.cat(
        [step.weights for step in features.attention if (step.query, step.key) == ("image", "text")]
    )
    token_to_patch = text_to_image.mean(dim=(0, 1))  # [L, H, T, N] -> [T, N]
    gate = features.gate[0]
    image_map = gate * features.text_pooling[0] @ token_to_patch + (1 - gate) * features.image_pooling[0]  # [N]
    return Explanation(
        method="raw_attention",
        tokens=("",) * text.tokens.shape[1],
        image_map=image_map.view(image.grid).cpu().numpy(),
        token_scores=features.text_pooling[0].cpu().numpy(),
        token_to_patch=token_to_patch.cpu().numpy(),
        patch_to_token=image_to_text.mean(dim=(0, 1)).cpu().numpy(),
        text_to_image=text_to_image.cpu().numpy(),
        image_to_text=image_to_text.cpu().numpy(),
        grid=image.grid,
        box=image.box,
    )
