"""Which spellings are one answer to a model, and what the rules for scoring make of a data set's answers, with counts.

The VQA rules (``training.metrics.vqa_accuracy``) say when two texts score as equal. As the identity of classes they
would lose answers: "C++" and "C", "<5" and "5", "N/A" and "n" are equal to them.
"""

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterable

from training.datasets.readers.jsonl import first_few
from training.metrics.vqa_accuracy import normalize_answer, official_form
from valm_core.inputs.text import lower_text

# What the rules drop though it tells answers apart.
_MEANING = re.compile(
    r"[+<>=]"  # C++, < 5, x = 2
    r"|(?<!\S)-\s*\.?\d|(?<=\w)-(?!\S)"  # -5, a grade A-, Cl-
    r"|(?<=\d)\s*[-/]\s*(?=\d)"  # 1/2, 6 - 2
    r"|(?<=\d),(?=\d)(?!\d{3}(?!\d))"  # 1,2, but not the comma of 1,000
    r'|(?<=\d)"'  # inches
    r"|(?<=\s)a\W*$"  # a name at the end: gate A
    r"|(?<=[\w][-/\\_@])(?:an?|the)(?!\w)|(?<!\w)(?:an?|the)(?=[-/\\_@]\w)"  # N/A
)


@functools.lru_cache(maxsize=100_000)
def answer_identity(answer: str) -> str:
    """What two spellings share when they are one answer of a list: the VQA rules' form, or the text as written.

    The latter, cleaned and in lower case, where the rules would drop a mark that tells answers apart.
    """
    text = lower_text(answer)
    return text if _MEANING.search(text) else normalize_answer(text)


def answer_notes(answers: Iterable[str]) -> list[str]:
    """What the rules change in the answers of a data set, a line for each kind of change that occurs.

    Args:
        answers: one for each time that it was given.
    """
    spellings = Counter(lower_text(answer) for answer in answers)
    classes = _groups(spellings, answer_identity)
    totals = Counter({identity: sum(found.values()) for identity, found in classes.items()})
    scored = _groups(totals, normalize_answer)
    merged = {
        text: identity for identity, found in classes.items() for text in found if text != found.most_common(1)[0][0]
    }
    notes = []
    if merged:
        pairs = [
            f"{text!r} ({spellings[text]}) with {classes[identity].most_common(1)[0][0]!r}"
            for text, identity in sorted(merged.items(), key=lambda pair: -spellings[pair[0]])
        ]
        rows = sum(spellings[text] for text in merged)
        notes.append(f"{len(merged)} spellings ({rows} answers) are merged with a commoner one: {first_few(pairs)}")
    same = [found for found in scored.values() if len(found) > 1]
    if same:
        pairs = [" = ".join(f"{text!r} ({count})" for text, count in found.most_common()) for found in same]
        notes.append(
            f"{len(same)} groups of answers are classes of their own, but score as equal by the VQA rules: "
            f"{first_few(pairs)}"
        )
    kept = [f"{text!r} ({count})" for text, count in spellings.most_common() if not official_form(text)]
    if kept:
        notes.append(f"{len(kept)} answers of which the VQA rules leave nothing are kept as written: {first_few(kept)}")
    return notes


def _groups(counts: Counter, form: Callable[[str], str]) -> dict[str, Counter]:
    """The counted texts by what ``form`` makes of them."""
    groups: dict[str, Counter] = {}
    for text, count in counts.items():
        groups.setdefault(form(text), Counter())[text] += count
    return groups
