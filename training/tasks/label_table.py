"""The figures of relate, judge and feel as lines of text."""

SHOWN_LABELS = 25  # with a line of their own


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
