"""Occlusion: what happens to the answer when one word or one part of the photo is hidden."""

import torch
from torch import Tensor

from valm_core.explanations.hiding import TOKEN_BATCH, logits_without_pixels, without_cells
from valm_core.explanations.relevance import build_explanation, check_answer, rows_to_one
from valm_core.explanations.trace import Trace, trace_question
from valm_core.model.model import ValmModel
from valm_core.outputs import EncodedImage, EncodedText, Explanation
from valm_core.stopping import stop_if_unwanted


@torch.no_grad()
def occlusion(
    model: ValmModel, text: EncodedText, image: EncodedImage, answer_index: int, trace: Trace | None = None
) -> Explanation:
    """Explain one question by hiding every cell and every word piece in turn.

    A cell is hidden by putting the average image token of the training data in its place, a word piece by masking it.
    Each counts by how far the answer's probability falls, and not at all where it rises (Zeiler & Fergus 2014,
    https://arxiv.org/abs/1311.2901). A token's map says how far hiding a cell moves that token's final vector, and
    what a cell took from the tokens how far hiding a token moves the cell's.

    The question has at least two tokens. ``text_to_image`` and ``image_to_text`` are the raw attention weights, for
    occlusion has nothing by layer or head.
    """
    trace = trace or trace_question(model, text, image, answer_index)
    length, cells = text.tokens.shape[1], image.tokens.shape[1]
    each_cell = torch.eye(cells, dtype=torch.bool, device=image.tokens.device)
    each_token = torch.eye(length, dtype=torch.bool, device=text.mask.device)
    tokens, patches = trace.features.text_tokens, trace.features.image_tokens
    logits, moved = [], []
    for part in each_cell.split(TOKEN_BATCH):
        stop_if_unwanted()
        without_cell = model(
            text_tokens=text.tokens.expand(len(part), -1, -1),
            text_mask=text.mask.expand(len(part), -1),
            image_tokens=without_cells(model, image.tokens, part),
        )
        logits.append(without_cell.logits)
        moved.append((without_cell.features.text_tokens - tokens).norm(dim=-1))  # [40, T]
    stop_if_unwanted()
    without_token = model(
        text_tokens=text.tokens.expand(length, -1, -1),
        text_mask=text.mask & ~each_token,
        image_tokens=image.tokens.expand(length, -1, -1),
    )
    probability = trace.logits.float().softmax(dim=-1)[0, answer_index]
    hidden = torch.cat([without_token.logits, *logits]).float().softmax(dim=-1)[:, answer_index]  # [T + N]
    return build_explanation(
        "occlusion",
        trace.features,
        (probability - hidden).clamp_min(0),
        torch.cat(moved).T,  # [T, N]
        (without_token.features.image_tokens - patches).norm(dim=-1).T,  # [N, T]
        image,
    )


def pixel_occlusion(
    model: ValmModel,
    text: EncodedText,
    pixels: Tensor,
    answer_index: int,
    grid: tuple[int, int] | None = None,
    fill: str = "blur",
) -> Tensor:
    """How far the answer's probability falls when a rectangle of the photo is hidden before the image encoder.

    A cell of a CNN carries evidence of its neighbours, so hiding one token leaves much of what the cell showed in the
    others; hiding pixels doesn't. It costs one run of the image encoder a rectangle: the slow, honest reference.

    Args:
        model: in evaluation mode.
        text: one encoded question.
        pixels: [3, S, S] in 0..1.
        answer_index: the answer to explain.
        grid: (rows, columns) of rectangles; None takes the image encoder's own.
        fill: what hidden pixels show, a key of ``hiding.FILLS``.

    Returns:
        [rows, columns], at least 0, summing to 1; all the same where hiding nothing lowers the answer.

    Raises:
        ValueError: an unknown fill, or an answer index outside the model's list.
    """
    check_answer(model, answer_index)
    rows, columns = grid or model.image_encoder.grid
    each = torch.eye(rows * columns, dtype=torch.bool).view(-1, rows, columns)
    hidden = torch.cat([torch.zeros_like(each[:1]), each])  # the whole photo first
    probabilities = logits_without_pixels(model, text, pixels, hidden, fill).softmax(dim=-1)[:, answer_index]
    return rows_to_one((probabilities[0] - probabilities[1:]).clamp_min(0)).view(rows, columns)
