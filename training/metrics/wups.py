"""WUPS: answer accuracy that forgives near words, by Wu-Palmer similarity in WordNet.

Malinowski & Fritz 2014, "A Multi-World Approach to Question Answering", https://arxiv.org/abs/1410.0210, equation 8.
Their answers are sets of words, separated by commas; similarities below a threshold count a tenth.
"""

import functools
import io
import math
import os
import warnings
from pathlib import Path

FOLDERS = ("/usr/share/wordnet", "/usr/share/nltk_data/corpora/wordnet", "~/nltk_data/corpora/wordnet")
BELOW_THRESHOLD = 0.1  # factor of similarities below the threshold


class WordNetMissing(RuntimeError):
    """WordNet's files or nltk are not installed. The message says how to get them."""


def wups(prediction: str, answer: str, threshold: float) -> float:
    """How well a set of words matches another one, in 0..1; the order of the two doesn't matter.

    Every word is matched with its nearest in the other set, and these similarities are multiplied; of the two
    directions the smaller product counts.

    Args:
        prediction, answer: words or terms separated by commas; case and outer blanks don't matter.
        threshold: similarities below it count a tenth; 0.9 and 0.0 are usual.

    Raises:
        ValueError: an empty set, or a threshold outside 0..1.
        WordNetMissing: WordNet can't be read here.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold is {threshold!r}; a number in 0..1 is needed, usually 0.9 or 0.")
    predicted, given = _terms(prediction), _terms(answer)
    pairs = {(one, other): _word_score(one, other, threshold) for one in predicted for other in given}
    covered_predictions = math.prod(max(pairs[one, other] for other in given) for one in predicted)
    covered_answers = math.prod(max(pairs[one, other] for one in predicted) for other in given)
    return min(covered_predictions, covered_answers)


def _terms(text: str) -> list[str]:
    terms = [term.strip().lower() for term in text.split(",")]
    terms = [term for term in dict.fromkeys(terms) if term]
    if not terms:
        raise ValueError(f"{text!r} holds no answer; words separated by commas are needed.")
    return terms


def _word_score(one: str, other: str, threshold: float) -> float:
    similarity = word_similarity(one, other)
    return similarity if similarity >= threshold else BELOW_THRESHOLD * similarity


@functools.lru_cache(maxsize=100_000)
def word_similarity(one: str, other: str) -> float:
    """Wu-Palmer similarity of the words' nearest senses, in 0..1; words outside WordNet match only themselves.

    Nouns alone, as in the authors' script (calculate_wups.py of DAQUAR): all verbs, and all adjectives, would meet at
    a root made up for them, near the top, and unrelated words would look alike.
    """
    if one == other:
        return 1.0
    wordnet = read_wordnet()
    senses = [wordnet.synsets(word.replace(" ", "_"), pos="n") for word in (one, other)]
    return max((first.wup_similarity(second) or 0.0 for first in senses[0] for second in senses[1]), default=0.0)


@functools.lru_cache(maxsize=1)
def read_wordnet():
    """nltk's reader of the WordNet in ``$WORDNET_FOLDER`` or the first of ``FOLDERS`` that holds it.

    Raises:
        WordNetMissing: there is none, or no nltk.
    """
    try:
        import nltk.data
        from nltk.corpus.reader.wordnet import WordNetCorpusReader
    except ImportError as error:
        raise WordNetMissing("WUPS needs the package nltk. Run: pip install nltk") from error

    class Reader(WordNetCorpusReader):
        """Debian's package lacks the file of topic names, which nltk reads and similarity doesn't need."""

        def open(self, file):
            if file == "lexnames":
                return io.StringIO("".join(f"{number:02} topic{number:02} 0\n" for number in range(45)))
            return super().open(file)

        def map_wn(self, version="wordnet"):
            """No map to another WordNet: only other languages need one, and a second WordNet on disk."""

    chosen = os.environ.get("WORDNET_FOLDER")
    folders = [Path(folder).expanduser() for folder in ([chosen] if chosen else FOLDERS)]
    for folder in folders:
        if (folder / "data.noun").is_file() and (folder / "noun.exc").is_file():
            nltk.data.path.append(str(folder))  # nltk reads from folders that it was told of alone
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that other languages' files are absent
                return Reader(str(folder), None)
    raise WordNetMissing(
        f"There is no WordNet in {', '.join(map(str, folders))}. Run: apt-get install wordnet-base. Or set "
        "WORDNET_FOLDER to a folder with WordNet 3's files data.noun, noun.exc and their likes."
    )
