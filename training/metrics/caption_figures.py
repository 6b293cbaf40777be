"""Figures of captions: BLEU-4, CIDEr, ROUGE-L by pycocoevalcap, and whether a model says the same of every photo."""

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import pairwise

import numpy as np

from valm_core.captions.written import plain_words

SMALL_WORDS = frozenset("a an the and in on of with".split())
CIDER_MOST = 10.0  # of a caption that equals all of its references


def caption_scores(captions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """``bleu_4``, ``cider`` (0..10) and ``rouge_l`` of a caption a photo against what people said of that photo.

    BLEU (Papineni et al. 2002, P02-1040) of the whole set with the nearest reference's length; CIDEr (Vedantam et al.
    2015, https://arxiv.org/abs/1411.5726) as CIDEr-D, words weighed by how rare they are in these references; ROUGE-L
    (Lin 2004, W04-1013). As pycocoevalcap computes them (https://github.com/salaniz/pycocoevalcap).

    Raises:
        ValueError: numbers of captions and references differ, or there are none.
    """
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    if not captions or len(captions) != len(references):
        raise ValueError(f"{len(captions)} captions of {len(references)} photos; one of each is needed, one at least.")
    said = {place: [" ".join(plain_words(text))] for place, text in enumerate(captions)}
    people = {place: [" ".join(plain_words(text)) for text in texts] for place, texts in enumerate(references)}
    bleu, _ = Bleu(4).compute_score(people, said, verbose=0)
    cider, _ = Cider().compute_score(people, said)
    rouge, _ = Rouge().compute_score(people, said)
    return {"bleu_4": float(bleu[3]), "cider": float(cider), "rouge_l": float(rouge)}


def variety_figures(captions: Sequence[str], learned: Collection[str] = ()) -> dict[str, float]:
    """Whether a model says much the same of all photos.

    ``distinct_captions``: share of the captions that differ. ``distinct_2``: of all pairs of neighbouring words the
    share that differ (Li et al. 2016, N16-1014). ``novel``: share that stands in none of the ``learned`` captions, left
    out without any. ``commonest_start``: share that begins with the commonest three words. ``repeated_words``: share of
    captions where a word but ``SMALL_WORDS`` comes twice. ``mean_words``: their length.
    """
    split = [plain_words(text) for text in captions]
    pairs = [pair for words in split for pair in pairwise(words)]
    starts = Counter(tuple(words[:3]) for words in split)
    repeated = [
        len(own) != len(set(own)) for own in ([word for word in words if word not in SMALL_WORDS] for words in split)
    ]
    figures = {
        "distinct_captions": len({tuple(words) for words in split}) / len(split),
        "distinct_2": len(set(pairs)) / max(len(pairs), 1),
        "commonest_start": starts.most_common(1)[0][1] / len(split),
        "repeated_words": float(np.mean(repeated)),
        "mean_words": float(np.mean([len(words) for words in split])),
    }
    known = {tuple(plain_words(text)) for text in learned}
    return figures | ({"novel": float(np.mean([tuple(words) not in known for words in split]))} if known else {})
