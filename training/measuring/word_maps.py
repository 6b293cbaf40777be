"""Do the words of a question look at different places? Correlation of their maps, and the weight on function words.

Example:
    python -m training.word_maps --checkpoint assets/checkpoints/everyday --data validation.jsonl --limit 300 \\
        --report docs/reports/maps/word_maps.json
"""

import argparse
import itertools
import json
from collections import defaultdict

import numpy as np
from tqdm import tqdm

from training.datasets import load_rows
from training.datasets.readers.jsonl import DataError, Row
from training.datasets.word_forms import FUNCTION_WORDS
from training.datasets.word_forms import words_of as plain_words
from training.measuring.common import (
    add_measuring_options,
    as_page,
    data_name,
    explain,
    load_model,
    markdown_table,
    sample,
    tell_report,
    words_of,
)
from training.measuring.faithfulness import interval
from valm_core.commands import ending_in_a_line
from valm_core.inputs.word_pieces import merge_word_pieces
from valm_core.method_names import DEFAULT_METHOD
from valm_core.model.model import ValmModel

SHARES = {
    "function_words": "function words, of all words",
    "function_and_special": "function words and special tokens, of all tokens",
    "special_tokens": "special tokens, of all tokens",
}


def has_content(word: str) -> bool:
    """Whether a word as written ("dog's", "2") is more than function words and punctuation."""
    parts = plain_words(word)
    return any(part not in FUNCTION_WORDS for part in parts) if parts else any(map(str.isalnum, word))


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's correlation of two maps over their cells, -1..1. Of a map that is the same everywhere it is not
    defined: two of them count as equal (1), one beside another map as unrelated (0)."""
    one, other = one.ravel() - one.mean(), other.ravel() - other.mean()
    flat = np.allclose(one, 0, atol=1e-9), np.allclose(other, 0, atol=1e-9)
    if any(flat):
        return float(all(flat))
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))


def mean_correlation(maps: np.ndarray) -> float:
    """The mean ``correlation`` over all pairs of maps [W, N], two or more."""
    return float(np.mean([correlation(one, other) for one, other in itertools.combinations(maps, 2)]))


def reading_shares(scores: np.ndarray, token_words: tuple[int | None, ...], content: list[bool]) -> dict[str, float]:
    """What of the tokens' weight lies on those that say nothing of a photo, 0..1 each: see ``SHARES``.

    Args:
        scores: [T], at least 0.
        token_words: for each token its word, None for special tokens.
        content: for each word whether it has content.
    """
    special = np.array([word is None for word in token_words])
    function = np.array([word is not None and not content[word] for word in token_words])
    total, of_words = scores.sum(), scores[~special].sum()
    if of_words <= 0:  # special tokens took everything: the words share alike
        of_words, on_function = float((~special).sum()), float(function.sum())
    else:
        on_function = scores[function].sum()
    return {
        "function_words": float(on_function / of_words),
        "function_and_special": float(scores[function | special].sum() / total),
        "special_tokens": float(scores[special].sum() / total),
    }


def measure(model: ValmModel, rows: list[Row]) -> dict:
    """How alike the maps of one question's content words are, and how much weight the other tokens have.

    Args:
        model: in evaluation mode.
        rows: questions with photos. Those with fewer than two different content words are left out.

    Returns:
        ``questions``; ``methods``: for each ``correlation`` (mean over a question's pairs), ``flat_maps`` (share of
        the content words whose map is the same everywhere) and the ``SHARES``, each {mean, low, high} over the
        questions with a 95 % bootstrap interval; ``shuffled_maps``: the correlation of the default method's maps with
        each map's cells shuffled; ``even_reading``: the shares if every token weighed the same. The weights of raw
        attention are those by which the words are pooled; those of a method are its ``token_scores``.

    Raises:
        DataError: no question is left.
    """
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    generator = np.random.default_rng(0)
    for row in tqdm(rows, desc="comparing words", unit="question"):
        words, token_words = words_of(model, row.question)
        content = [has_content(word) for word in words]
        reached = {word for word in token_words if word is not None}  # a long question is cut
        first = {tuple(plain_words(word)) or word: place for place, word in reversed(list(enumerate(words)))}
        chosen = sorted(place for place in first.values() if content[place] and place in reached)
        if len(chosen) < 2:
            continue
        for name, explanation in explain(model, row.photo, row.question).items():
            maps = merge_word_pieces(explanation, words, token_words).token_to_patch[chosen]  # [W, N]
            values[name]["correlation"].append(mean_correlation(maps))
            values[name]["flat_maps"].append(np.mean([np.ptp(one) < 1e-9 for one in maps]))
            for share, value in reading_shares(explanation.token_scores, token_words, content).items():
                values[name][share].append(value)
            if name == DEFAULT_METHOD:
                mixed = np.stack([generator.permutation(one) for one in maps])
                values["shuffled"]["correlation"].append(mean_correlation(mixed))
        for share, value in reading_shares(np.ones(len(token_words)), token_words, content).items():
            values["even"][share].append(value)
    if not values:
        raise DataError(f"None of the {len(rows)} questions has two different content words, whose maps could differ.")
    figures = {name: {figure: interval(found) for figure, found in found.items()} for name, found in values.items()}
    shuffled, even = figures.pop("shuffled"), figures.pop("even")
    return {
        "questions": len(values["even"]["function_words"]),
        "methods": figures,
        "shuffled_maps": shuffled["correlation"],
        "even_reading": even,
    }


def format_report(report: dict) -> str:
    """The report as Markdown."""

    def percent(value: dict) -> str:
        return f"{100 * value['mean']:.1f} % ({100 * value['low']:.1f}–{100 * value['high']:.1f})"

    def number(value: dict) -> str:
        return f"{value['mean']:.3f} ({value['low']:.3f}–{value['high']:.3f})"

    rows = []
    for name, figures in report["methods"].items():
        label = f"{name} (default)" if name == DEFAULT_METHOD else name
        shares = (percent(figures[share]) for share in SHARES)
        rows.append((label, number(figures["correlation"]), percent(figures["flat_maps"]), *shares))
    rows.append(("cells shuffled", number(report["shuffled_maps"]), "", *[""] * len(SHARES)))
    rows.append(("every token alike", "", "", *(percent(report["even_reading"][share]) for share in SHARES)))
    return as_page(
        "# Do the words of a question look at different places?",
        f"    {report.get('command', '')}",
        f"{report['questions']} questions with two content words or more. Correlation: Pearson's, over the cells, of "
        "the maps of a question's content words, mean over its pairs. Weight: of the words' pooling (raw attention) or "
        "the method's token scores. 95 % bootstrap intervals over the questions.",
        markdown_table(("", "correlation", "flat maps", *(f"weight on {name}" for name in SHARES.values())), rows),
    )


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_measuring_options(parser, report="write this JSON file, and beside it the same as .md")
    parser.add_argument("--data", required=True, help="JSON lines file (see docs/train.md)")
    parser.add_argument("--limit", type=int, default=300, help="how many questions, drawn with seed 0 (default 300)")
    options = parser.parse_args(arguments)
    with ending_in_a_line(parser, writes=options.report):
        rows = sample(load_rows(options.data), max(options.limit, 1), seed=0)
        report = measure(load_model(options), rows)
        data = data_name(options.data)
        report["command"] = (
            f"python -m training.word_maps --checkpoint {options.checkpoint} --data {data} --limit {options.limit}"
        )
        tell_report(report, format_report(report), options.report)
        print(json.dumps(report))


if __name__ == "__main__":
    main()
