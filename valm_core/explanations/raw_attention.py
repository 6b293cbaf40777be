"""Raw attention: the cross-attention weights themselves, averaged over layers and heads."""

from torch import Tensor

from valm_core.explanations.attention_maps import cross_modal_maps, question_map
from valm_core.explanations.trace import Trace, trace_question
from valm_core.model.model import ValmModel
from valm_core.outputs import EncodedImage, EncodedText, Explanation, FusedFeatures


def raw_attention(
    model: ValmModel, text: EncodedText, image: EncodedImage, answer_index: int, trace: Trace | None = None
) -> Explanation:
    """Explain one question by the attention weights of its forward pass.

    A token's map is the mean of its text-to-image weights over layers and heads; for the map of the whole question see
    ``question_map``. Attention says where information was read, not that it changed the answer (Jain & Wallace 2019,
    https://arxiv.org/abs/1902.10186).
    """
    features = (trace or trace_question(model, text, image, answer_index)).features
    text_to_image, image_to_text = cross_modal_maps(features)  # [1, L, H, T, N], [1, L, H, N, T]
    image_map, token_scores, token_to_patch, patch_to_token = (
        part[0].cpu().numpy() for part in raw_relevance(features, text_to_image, image_to_text)
    )
    return Explanation(
        method="raw_attention",
        tokens=("",) * text.tokens.shape[1],
        image_map=image_map.reshape(image.grid),
        token_scores=token_scores,
        token_to_patch=token_to_patch,
        patch_to_token=patch_to_token,
        text_to_image=text_to_image[0].cpu().numpy(),
        image_to_text=image_to_text[0].cpu().numpy(),
        grid=image.grid,
        box=image.box,
    )


def raw_relevance(
    features: FusedFeatures, text_to_image: Tensor, image_to_text: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The whole question's map [B, N], the tokens' scores [B, T], and means over layers and heads [B, T, N], [B, N, T].

    Args:
        features: of a forward pass with maps.
        text_to_image, image_to_text: of ``cross_modal_maps``.
    """
    return (
        question_map(features, text_to_image),
        features.text_pooling,
        text_to_image.mean(dim=(1, 2)),
        image_to_text.mean(dim=(1, 2)),
    )
