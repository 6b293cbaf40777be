"""What the reports and model cards of relate, judge and feel say."""

import functools

from valm_core.checkpoints.model_card import CardText, task_card

SHOWN_LABELS = 25  # with a line of their own

RELATE = CardText(
    name="relation",
    pipeline_tag="text-classification",
    tags=("explainability", "relation-extraction"),
    does="Says in which relation two marked parts of a text stand, out of a fixed list, and which words spoke for it.",
    use='valm-ask --checkpoint NAME "[Bill Cosby] \'s star on [Hollywood Walk of Fame] vandalized"',
    limits="""For looking into how words make a relation, in English posts. Not for facts about people: it says what a
text like this usually means, whether it is true or not. Two thirds of the pairs that it learned from have no relation,
and of most relations it saw fewer than a hundred: rare ones are hardly ever found.""",
)
JUDGE = CardText(
    name="judging",
    pipeline_tag="image-text-to-text",
    tags=("explainability", "visual-entailment"),
    does="Says whether a photo supports a statement, contradicts it or leaves it open, and which words and places "
    "spoke for that.",
    use='valm-ask --checkpoint NAME photo.jpg "Two dogs are running."',
    limits="""For looking into what in a photo speaks for or against a sentence, in English. Not for checking facts or
news: it is often wrong, above all about counts, positions and who does what, and judges much by how a statement is
worded (see `without_photo` above). On VALSE and VSR,
which it never learned from, it was no better than guessing.""",
)
FEEL = CardText(
    name="mood",
    pipeline_tag="image-text-to-text",
    tags=("explainability", "sentiment-analysis"),
    does="Says whether a post with its picture sounds positive, neutral or negative, and which words and places spoke "
    "for that.",
    use='valm-ask --checkpoint NAME picture.jpg "What a lovely day!"',
    limits="""For looking into how words and pictures carry a mood, in English posts. Not for judging people or what
they feel: labels are those of a few annotators who often disagreed, and irony is taken at its word.""",
)
CARDS = {
    task: functools.partial(task_card, text=text)
    for task, text in {"relate": RELATE, "judge": JUDGE, "feel": FEEL}.items()
}


def format_labels(report: dict) -> str:
    """The report as lines of text, in percent: as a whole, before training, without photos, by label or by source."""
    lines = [f"{'':<36}{'accuracy':>10}{'macro F1':>10}"]

    def line(name: str, figures: dict, more: str = "") -> None:
        lines.append(f"{name:<36}{100 * figures['accuracy']:>8.1f} %{100 * figures['macro_f1']:>8.1f} %{more}")

    line(f"{report['rows']} rows", report)
    if "before" in report:
        line("  before training", report["before"])
    if "without_photo" in report:
        line("  without photos", report["without_photo"])
    if "always_commonest" in report:
        line(f"  always {report['always_commonest']['label']!r}", report["always_commonest"])
    if "micro_f1" in report:
        precision, recall = (100 * report[f"micro_{name}"] for name in ("precision", "recall"))
        lines.append(
            f"{'micro F1 of relations':<36}{100 * report['micro_f1']:>8.1f} %  (precision {precision:.1f} %, recall "
            f"{recall:.1f} %)"
        )
    for group in ("by_split", "by_source"):
        for name, figures in report.get(group, {}).items():
            pairs = f"  pairs {100 * figures['pair_accuracy']:.1f} %" if "pair_accuracy" in figures else ""
            line(f"  {name} ({figures['rows']})", figures, pairs)
    if "f1" in report:
        lines.append("F1 by label: " + ", ".join(_labels(report["f1"])))
    return "\n".join(lines)


def _labels(scores: dict[str, float]) -> list[str]:
    return [f"{label} {100 * score:.1f}" for label, score in list(scores.items())[:SHOWN_LABELS]]
