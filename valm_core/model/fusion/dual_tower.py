"""The dual-tower family: two transformers that never meet before the end."""

from collections.abc import Collection

from torch import Tensor, nn
from torch.nn import functional

from valm_core.model.fusion.attention import AttentionPooling
from valm_core.model.fusion.streams import AttentionHead, GatedFusion, SelfAttentionLayer, fuse_streams, with_positions
from valm_core.outputs import AttentionMap, FusedFeatures


class DualTowerFusion(nn.Module):
    """Two transformers that never meet before the end: each stream is pooled to a vector, and the vectors are fused.

    Late fusion is the gated sum plus the element-wise product of both vectors, without which a sum could not relate
    the question to the photo (the product is that of Antol et al. 2015, https://arxiv.org/abs/1505.00468). No token
    attends across modalities. What is returned as the map between them is the similarity of the final tokens, in the
    spirit of FILIP (Yao et al. 2022, https://arxiv.org/abs/2111.07783): a softmax over cosines, of kind "similarity".
    It describes the tokens and takes no part in the answer.

    Args:
        width: size D of every token.
        layers: how many ``SelfAttentionLayer`` in each tower.
        heads, feed_forward_ratio, dropout: as in ``SelfAttentionLayer``.
    """

    STEPS = ("text_to_text", "image_to_image")
    SHARPNESS = 10.0  # of the softmax over cosines

    def __init__(
        self,
        width: int,
        layers: int,
        heads: int,
        feed_forward_ratio: float,
        dropout: float,
    ):
        super().__init__()
        size = (width, heads, feed_forward_ratio, dropout)
        self.text_tower = nn.ModuleList(SelfAttentionLayer(*size) for _ in range(layers))
        self.image_tower = nn.ModuleList(SelfAttentionLayer(*size) for _ in range(layers))
        self.text_norm, self.image_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.text_pooling, self.image_pooling = AttentionPooling(width), AttentionPooling(width)
        self.gate = GatedFusion(width)
        self.product_norm: nn.LayerNorm | None = nn.LayerNorm(width)

    def forward(
        self,
        text: Tensor,
        text_mask: Tensor,
        image: Tensor,
        grid: tuple[int, int],
        return_attention: bool = False,
        masked_heads: Collection[AttentionHead] = (),
    ) -> FusedFeatures:
        """Fuse text [B, T, D] (real where text_mask [B, T]) and image [B, N, D] (N = rows * columns of ``grid``)."""
        image = with_positions(image, grid)
        maps: list[AttentionMap] = []
        for index, (text_layer, image_layer) in enumerate(zip(self.text_tower, self.image_tower, strict=True)):
            text, text_maps = text_layer(text, text_mask, "text", index, return_attention, masked_heads)
            image, image_maps = image_layer(image, None, "image", index, return_attention, masked_heads)
            maps += [*text_maps, *image_maps]
        text, image = self.text_norm(text), self.image_norm(image)
        if return_attention:
            maps += self._similarity_maps(text, text_mask, image)
        return fuse_streams(self, text, text_mask, image, maps)

    def _similarity_maps(self, text: Tensor, text_mask: Tensor, image: Tensor) -> list[AttentionMap]:
        cosine = functional.normalize(text, dim=-1) @ functional.normalize(image, dim=-1).transpose(1, 2)  # [B, T, N]
        scores = self.SHARPNESS * cosine[:, None]  # [B, 1, T, N]
        image_scores = scores.transpose(2, 3).masked_fill(~text_mask[:, None, None, :], float("-inf"))  # [B, 1, N, T]
        last = len(self.text_tower) - 1
        return [
            AttentionMap(scores.softmax(dim=-1), "text", "image", last, kind="similarity"),
            AttentionMap(image_scores.softmax(dim=-1), "image", "text", last, kind="similarity"),
        ]
