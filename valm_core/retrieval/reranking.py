"""What was found, ordered once more by a model that describes photos: how likely is it to write these words?"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from valm_core.captions.describing import Describer
from valm_core.captions.written import check_has_word
from valm_core.outputs import InputError
from valm_core.retrieval.index import Found

READ_AGAIN = 50  # of the photos found, so many are read once more


def read_again(
    captioner: Describer[Any],
    words: str,
    found: Sequence[Found],
    file_of: Callable[[str], Path],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Found]:
    """The photos found, the best first by the sum of their score and the log-probability of the words.

    Both are natural logarithms up to a number that is the same for all photos: the score is the logit of a softmax over
    photos. Each photo is opened and encoded again, which takes most of the time. One that can't be read any more comes
    last.

    Args:
        captioner: the model.
        words: what was looked for.
        found: at least one photo, from ``PhotoIndex.search``.
        file_of: where a photo lies.
        progress: called with how many photos were read, and how many there are.

    Returns:
        The same photos, each with its own score; ``found_share`` was measured of the former order and is gone.

    Raises:
        InputError: the words can't be used.
    """
    check_has_word(words)
    sums = []
    for done, one in enumerate(found, 1):
        try:
            sums.append(one.score + float(captioner.log_probabilities([words], file_of(one.name))[0]))
        except (InputError, OSError):
            sums.append(-np.inf)
        progress(done, len(found))
    order = np.argsort(-np.array(sums), kind="stable")
    return [replace(found[place], found_share=None) for place in order]
