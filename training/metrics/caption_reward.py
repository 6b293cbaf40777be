"""What a caption is worth while a model learns: CIDEr-D against what people said of the photo."""

from collections.abc import Sequence

from valm_core.captions.written import plain_words

ENDING = "."  # that a caption ends counts as a word, or nothing would keep it from ending in "of a"


class CiderReward:
    """CIDEr-D of single captions, words weighed by how rare they are in the references of all photos.

    As pycocoevalcap computes it (https://github.com/salaniz/pycocoevalcap), but that the end is a word: a caption that
    breaks off is worth less.

    Args:
        references: what people said of each photo, at least one text a photo.
    """

    def __init__(self, references: Sequence[Sequence[str]]):
        from pycocoevalcap.cider.cider_scorer import CiderScorer, cook_refs

        self.scorer = CiderScorer()
        self.cooked = [cook_refs([_ended(text) for text in texts]) for texts in references]
        self.scorer.crefs = self.cooked
        self.scorer.compute_doc_freq()

    def __call__(self, photos: Sequence[int], captions: Sequence[str], ended: Sequence[bool]) -> list[float]:
        """A reward in 0..10 for each caption.

        Args:
            photos: for each caption the number of its photo among the references.
            captions: in plain words.
            ended: whether each came to its end.
        """
        from pycocoevalcap.cider.cider_scorer import cook_test

        said = [cook_test(_ended(text) if whole else text) for text, whole in zip(captions, ended, strict=True)]
        known, scores = len(self.cooked), []
        for first in range(0, len(said), known):
            # It weighs words by how many sets of references it holds, and compares as many as there are captions.
            part = slice(first, first + known)
            self.scorer.ctest = said[part]
            needed = [self.cooked[photo] for photo in photos[part]]
            self.scorer.crefs = needed + [[]] * (known - len(needed))
            scores += [float(score) for score in self.scorer.compute_cider()]
        return scores


def _ended(text: str) -> str:
    return " ".join([*plain_words(text), ENDING])
