"""Captioner: a photo in, a description out, each word with its probability, its map and what that is worth."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from valm_core.captions.written import caption_places, check_has_word
from valm_core.checkpoints.hub import fetch_checkpoint
from valm_core.checkpoints.storage import load_caption_checkpoint
from valm_core.devices import choose_device
from valm_core.evidence.rules import hidden_variants, is_flat, split_variants, support, verdict
from valm_core.inputs.photo import open_photo
from valm_core.inputs.word_pieces import join_word_pieces
from valm_core.model.tasks.captioner import BEGIN, END, UNKNOWN, CaptionModel, KeyValue
from valm_core.model.tasks.decoding import PieceCaption, decode
from valm_core.outputs import Explanation, InputError, Photo, in_shares

MAX_BEAMS = 10
METHOD = "caption_attention"  # how the maps are made


@dataclass(frozen=True)
class DescribedWord:
    """A word of a description.

    ``probability`` is the model's, 0..1, after the words before it; ``support`` how far it falls when the hottest cells
    of its map are hidden and not random ones, in deviations, and ``verdict`` what that means, see ``evidence.rules``.
    """

    text: str
    probability: float
    support: float
    verdict: str


@dataclass(frozen=True)
class Description:
    """A photo in words.

    ``text`` is a sentence; ``maps`` [W, rows, columns], each summing to 1, say which cells each of the W ``words`` was
    read from. ``others`` are further descriptions that the search found, the better first.
    """

    text: str
    words: tuple[DescribedWord, ...]
    maps: np.ndarray
    others: tuple[str, ...] = ()

    def explanation(self) -> Explanation:
        """The maps in the form that pictures are drawn from; the whole map is the mean of the words' maps."""
        words, cells = len(self.words), self.maps[0].size
        flat = self.maps.reshape(words, cells)
        return Explanation(
            method=METHOD,
            tokens=tuple(word.text for word in self.words),
            image_map=self.maps.mean(axis=0),
            token_scores=np.full(words, 1 / words, dtype=np.float32),
            token_to_patch=flat,
            patch_to_token=in_shares(flat.T),
            text_to_image=flat[None, None],
            image_to_text=in_shares(flat.T)[None, None],
            grid=(self.maps.shape[1], self.maps.shape[2]),
        )


class Captioner:
    """Describes photos; safe to share between threads.

    Args:
        model: a trained caption model; it is moved to ``device`` and put in evaluation mode.
        device: where to compute; arrays lie on the CPU.
    """

    def __init__(self, model: CaptionModel, device: torch.device):
        self.model = model.to(device).eval()
        self.device = device

    @classmethod
    def from_checkpoint(cls, name: str | Path, device: str = "auto") -> "Captioner":
        """Load a checkpoint: its folder, or ``user/model`` on the Hugging Face hub.

        Raises:
            FileNotFoundError, ValueError: see ``load_checkpoint`` and ``choose_device``.
        """
        chosen = choose_device(device)
        model = load_caption_checkpoint(fetch_checkpoint(name), for_inference=chosen.type == "cpu")
        model.text_encoder = nn.Identity()  # type: ignore[assignment]  # its tokenizer is all that was needed of it
        return cls(model, chosen)

    @torch.no_grad()
    def describe(self, photo: Photo, beams: int = 3) -> Description:
        """Describe a photo.

        Args:
            photo: file, content or opened picture.
            beams: of the search, 1 (greedy) to ``MAX_BEAMS``.

        Raises:
            InputError: the photo can't be used, or ``beams`` is outside that.
        """
        return self._described(*self._found(photo, beams))

    def write(self, photo: Photo, beams: int = 3) -> str:
        """The text of ``describe`` alone, without maps and evidence, which take most of its time."""
        found, _ = self._found(photo, beams)
        return self._sentence(found[0])

    @torch.no_grad()
    def log_probabilities(self, texts: Sequence[str], photo: Photo) -> np.ndarray:
        """How likely it is, by its natural logarithm, that each text is what the model would write of a photo: [T].

        Pieces of words that the model can't write count for nothing, and what is beyond its longest caption.

        Args:
            texts: captions, in any case and punctuation.
            photo: file, content or opened picture.

        Raises:
            InputError: the photo can't be used, or a text has no word.
        """
        return written_log_probabilities(self.model, texts, self._cells(photo))

    @torch.no_grad()
    def _cells(self, photo: Photo) -> tuple[KeyValue, ...]:
        """What the decoder reads of a photo."""
        pixels = self.model.pixels(open_photo(photo))
        return self.model.encode_photos(pixels[None].to(self.device))

    def _found(self, photo: Photo, beams: int) -> tuple[list[PieceCaption], tuple[KeyValue, ...]]:
        """The captions that the search finds for a photo, the best first, and its cells."""
        if type(beams) is not int or not 1 <= beams <= MAX_BEAMS:
            raise InputError("beams is {beams!r}; allowed: 1 to {most}.", beams=beams, most=MAX_BEAMS)
        cells = self._cells(photo)
        return decode(self.model, cells, beams)[0], cells

    def _sentence(self, caption: PieceCaption) -> str:
        return sentence(words_of_places(self.model, content_of(caption))[0])

    def _described(self, found: list[PieceCaption], cells: tuple[KeyValue, ...]) -> Description:
        """The best of the found captions with its maps and evidence; the others in words."""
        places = content_of(found[0])
        maps = word_maps(self.model, places, cells)
        words = judge_words(self.model, places, cells, maps)
        texts = [self._sentence(one) for one in found]
        others = tuple(dict.fromkeys(text for text in texts if text != texts[0]))
        return Description(texts[0], words, maps.reshape(-1, *self.model.image_encoder.grid), others)


@torch.no_grad()
def written_log_probabilities(model: CaptionModel, texts: Sequence[str], cells: tuple[KeyValue, ...]) -> np.ndarray:
    """``Captioner.log_probabilities`` of a model in evaluation mode, and of the ``cells`` of one photo."""
    for text in texts:
        check_has_word(text)
    rows = caption_places(model, texts)
    length = max(map(len, rows)) - 1
    before = torch.tensor([row[:-1] + [END] * (length - len(row) + 1) for row in rows], device=model.device)  # [T, L]
    after = torch.tensor([row[1:] + [UNKNOWN] * (length - len(row) + 1) for row in rows], device=model.device)
    many = tuple((key.expand(len(rows), -1, -1, -1), value.expand(len(rows), -1, -1, -1)) for key, value in cells)
    likely = model.read(before, many).logits.float().log_softmax(dim=-1)  # [T, L, V]
    likely = likely.gather(-1, after[..., None])[..., 0].masked_fill(after == UNKNOWN, 0.0)
    return likely.sum(dim=1).cpu().numpy()


def content_of(caption: PieceCaption) -> list[int]:
    """A caption's places in the vocabulary without its end."""
    return [place for place in caption.places if place != END]


def word_maps(model: CaptionModel, places: list[int], cells: tuple[KeyValue, ...]) -> np.ndarray:
    """Where each of the W words of a photo's caption was read: maps [W, N], each summing to 1.

    What a word's pieces read from the cells, the mean over layers and heads.

    Args:
        model: in evaluation mode.
        places: in the vocabulary, ``END`` left out.
        cells: of the one photo.
    """
    read, _ = _read_again(model, places, cells, None)
    return in_shares(_pieces_of_words(model, places) @ read[0])


def judge_words(
    model: CaptionModel, places: list[int], cells: tuple[KeyValue, ...], maps: np.ndarray
) -> tuple[DescribedWord, ...]:
    """Whether it matters for each word what a map of it marks, by hiding cells; the words before it stay.

    Args:
        model, places, cells: as for ``word_maps``.
        maps: [W, N], for each word one.
    """
    belongs = _pieces_of_words(model, places)  # [W, T]
    values = cells[-1][1][0].float().cpu().numpy()  # [H, N, D/H]: they tell this photo from every other
    hidden = hidden_variants(values.swapaxes(0, 1)[None], np.array([places], dtype=np.float32), list(maps))
    _, likely = _read_again(model, places, cells, torch.from_numpy(hidden).to(model.device))  # [F, T]
    probabilities = np.exp(likely @ belongs.T)  # [F, W]
    told = []
    for number, word in enumerate(words_of_places(model, places)[0]):
        whole, hottest, random = split_variants(probabilities[:, number])
        said = "cannot tell" if is_flat(maps[number]) else verdict(whole, hottest[number], random)
        told.append(DescribedWord(word, whole, support(hottest[number], random), said))
    return tuple(told)


def _pieces_of_words(model: CaptionModel, places: list[int]) -> np.ndarray:
    """[W, T], 1 where a piece is of a word."""
    words, word_of = words_of_places(model, places)
    return (np.array(word_of)[None] == np.arange(len(words))[:, None]).astype(np.float32)


@torch.no_grad()
def _read_again(
    model: CaptionModel, places: list[int], cells: tuple[KeyValue, ...], hidden: Tensor | None
) -> tuple[np.ndarray, np.ndarray]:
    """A caption read again with its photo, whole or with the cells ``hidden`` [F, N].

    Returns:
        What each of its T pieces read from each cell, over all layers and heads, [F, T, N], and each piece's
        log-probability after those before it, [F, T]; F is 1 for the whole photo.
    """
    variants = 1 if hidden is None else len(hidden)
    taken = torch.tensor([[BEGIN, *places[:-1]]], device=model.device).expand(variants, -1)
    many = tuple((key.expand(variants, -1, -1, -1), value.expand(variants, -1, -1, -1)) for key, value in cells)
    reading = model.read(taken, many, return_weights=True, hidden=hidden)
    likely = reading.logits.float().log_softmax(dim=-1)[:, torch.arange(len(places)), places]  # [F, T]
    return cast(Tensor, reading.weights).mean(dim=(0, 2)).float().cpu().numpy(), likely.cpu().numpy()


def words_of_places(model: CaptionModel, places: list[int]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Places in a model's vocabulary, ``END`` left out -> the words, and the word of every piece."""
    tokens = model.vocabulary[torch.tensor(places, device=model.vocabulary.device)].tolist()
    return join_word_pieces(model.tokenizer.tokenizer.convert_ids_to_tokens(tokens))


def sentence(words: tuple[str, ...]) -> str:
    """Words as a sentence: a capital letter in front and a full stop behind."""
    text = " ".join(words)
    return text[:1].upper() + text[1:] + "."
