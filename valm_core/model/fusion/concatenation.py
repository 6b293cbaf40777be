"""The concatenation family: words and cells as one sequence."""

from collections.abc import Collection

import torch
from torch import Tensor, nn

from valm_core.model.fusion.attention import AttentionPooling
from valm_core.model.fusion.streams import AttentionHead, SelfAttentionLayer, with_positions
from valm_core.outputs import AttentionMap, FusedFeatures


class ConcatenationFusion(nn.Module):
    """One sequence of text and image tokens under joint self-attention (UNITER, Chen et al. 2020, arXiv 1909.11740).

    The answer vector is one attention pooling over the whole sequence. Split by modality it reads
    ``g * text + (1 - g) * image``: g is the share of the pooling weights that lies on the text, so the gate means the
    same as in the other families.

    Args:
        width: size D of every token.
        layers: how many ``SelfAttentionLayer``.
        heads, feed_forward_ratio, dropout: as in ``SelfAttentionLayer``.
    """

    STEPS = ("joint_to_joint",)

    def __init__(self, width: int, layers: int, heads: int, feed_forward_ratio: float, dropout: float):
        super().__init__()
        self.modality = nn.Parameter(torch.randn(2, width) * 0.02)  # added to text and to image tokens
        self.layers = nn.ModuleList(
            SelfAttentionLayer(width, heads, feed_forward_ratio, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.pooling = AttentionPooling(width)

    def forward(
        self,
        text: Tensor,
        text_mask: Tensor,
        image: Tensor,
        grid: tuple[int, int],
        return_attention: bool = False,
        masked_heads: Collection[AttentionHead] = (),
    ) -> FusedFeatures:
        """Fuse text [B, T, D] (real where text_mask [B, T]) and image [B, N, D]; the maps are "joint"."""
        length = text.shape[1]
        image = with_positions(image, grid)
        tokens = torch.cat([text + self.modality[0], image + self.modality[1]], dim=1)  # [B, T + N, D]
        mask = torch.cat([text_mask, text_mask.new_ones(image.shape[:2])], dim=1)  # [B, T + N]
        maps: list[AttentionMap] = []
        for index, layer in enumerate(self.layers):
            tokens, layer_maps = layer(tokens, mask, "joint", index, return_attention, masked_heads)
            maps += layer_maps
        tokens = self.norm(tokens)
        _, pooling = self.pooling(tokens, mask)
        text, image = tokens[:, :length], tokens[:, length:]
        gate = pooling[:, :length].sum(dim=1)  # [B]
        text_pooling = pooling[:, :length] / gate[:, None].clamp_min(1e-9)
        image_pooling = pooling[:, length:] / (1 - gate)[:, None].clamp_min(1e-9)
        text_vector = torch.einsum("bt,btd->bd", text_pooling, text)
        image_vector = torch.einsum("bn,bnd->bd", image_pooling, image)
        return FusedFeatures(
            # The pooled sequence, put together from its parts: so an explanation can follow it back to either pooling.
            fused=gate[:, None] * text_vector + (1 - gate)[:, None] * image_vector,
            text=text_vector,
            image=image_vector,
            gate=gate,
            text_tokens=text,
            image_tokens=image,
            text_pooling=text_pooling,
            image_pooling=image_pooling,
            attention=tuple(maps),
        )
