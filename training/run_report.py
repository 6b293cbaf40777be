"""What a finished run leaves for its reader: curves, a table of before and after, and a report by answer."""

import json
from collections import Counter
from pathlib import Path

from training.datasets.readers.jsonl import Row
from training.metrics.vqa_accuracy import most_common_answer, normalize_answer

COMMON_ANSWERS = 20  # how many get a line of their own
_LOSSES = ("loss", "task", "visual", "alignment", "masked_language", "matching", "contrastive")


def read_metrics(output: Path) -> list[dict]:
    """The lines of a run's ``metrics.jsonl``: epoch 0 is the model before training."""
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def write_curves(output: Path) -> None:
    """Draw ``curves.png``: every term of the loss, and every accuracy, by epoch."""
    import matplotlib.figure  # imported here: a run must not wait for it to start

    rows = read_metrics(output)
    figure = matplotlib.figure.Figure(figsize=(10, 4), layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    for name in _LOSSES:
        points = [(row["epoch"], row[name]) for row in rows if row.get(name)]
        if points:
            losses.plot(*zip(*points, strict=True), marker="o", label=name.replace("_", " "))
    curves = {"all": [(row["epoch"], row["accuracy"]) for row in rows]}
    for name in rows[0].get("by_source", {}):
        curves[name] = [(row["epoch"], row["by_source"][name]) for row in rows]
    for name, points in curves.items():
        accuracies.plot(*zip(*points, strict=True), marker="o", label=name)
    losses.set(xlabel="epoch", ylabel="training loss")
    accuracies.set(xlabel="epoch", ylabel="validation accuracy", ylim=(0, None))
    for axes in (losses, accuracies):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(frameon=False, fontsize=8)
    figure.savefig(output / "curves.png", dpi=120)


def before_and_after(before: dict, after: dict) -> str:
    """A Markdown table of two reports of ``score_rows``: accuracy as a whole, by type and by source."""
    rows = [("all questions", before["accuracy"], after["accuracy"])]
    for group in ("by_type", "by_source"):
        rows += [(name, value, after[group][name]) for name, value in before[group].items()]
    rows.append(("calibration error", before["expected_calibration_error"], after["expected_calibration_error"]))
    lines = ["| | before | after |", "|---|---|---|"]
    lines += [f"| {name} | {_percent(first)} | {_percent(second)} |" for name, first, second in rows]
    return "\n".join(lines)


def answer_report(rows: list[Row], predictions: list[str]) -> str:
    """scikit-learn's classification report over the most common reference answers, with all others in one line."""
    from sklearn.metrics import classification_report

    expected = [most_common_answer(row.answers) for row in rows]
    common = {answer for answer, _ in Counter(expected).most_common(COMMON_ANSWERS)}

    def label(answer: str) -> str:
        return answer if answer in common else "(any other)"

    given = [label(normalize_answer(prediction)) for prediction in predictions]
    return classification_report([label(answer) for answer in expected], given, zero_division=0)


def write_run_report(
    output: Path, rows: list[Row], before: tuple[dict, list[str]], after: tuple[dict, list[str]]
) -> None:
    """Write ``report.md`` and ``curves.png``.

    Args:
        output: folder of the run.
        rows: the validation rows.
        before, after: figures of ``score_rows`` and the predicted answers, one a row.
    """
    write_curves(output)
    text = f"""# Before and after

{before_and_after(before[0], after[0])}

![curves](curves.png)

## The most common answers before training

```
{answer_report(rows, before[1])}
```

## The most common answers after training

```
{answer_report(rows, after[1])}
```
"""
    (output / "report.md").write_text(text, encoding="utf-8")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"
