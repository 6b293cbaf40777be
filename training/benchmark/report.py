"""The benchmark's figures as a table with ratios and targets, and as a picture."""

import math
import statistics
from pathlib import Path

from training.measuring.common import as_page, markdown_table

# Ratios to ViLT-B/32 that we aim at: row, what is compared, at most (or at least).
TARGETS = (
    ("cold question", "cold", "at most", 3 / 10),
    ("next question on the same photo", "next", "at most", 1 / 15),
    ("batch throughput", "rate", "at least", 12.0),
    ("peak memory", "peak", "at most", 6 / 10),
)


def summary(model: dict) -> dict[str, tuple[float, float] | None]:
    """Each row's median and half the middle 50 % of its repeats; None where a model hasn't that row."""
    rows: dict[str, list[float]] = dict(model["milliseconds"])
    rows |= {"start": model["first_answer_seconds"], "peak": model["peak_megabytes"]}
    for row, kind in (("rate", "with_photos"), ("encoded_rate", "photos_encoded")):
        rows[row] = max((sizes[kind] for sizes in model["batches"].values()), key=statistics.median)
    return {row: (statistics.median(values), spread(values)) if values else None for row, values in rows.items()}


def spread(values: list[float]) -> float:
    """Half the distance between the quartiles."""
    if len(values) < 2:
        return 0.0
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return (third - first) / 2


def format_report(report: dict) -> str:
    """The report as Markdown."""
    models = report["models"]
    found = {name: summary(model) for name, model in models.items()}
    about = (
        f"{report['device']}, {report['precision']}, {report['threads']} threads, torch {report['torch']}; one "
        f"process, the models in turn, {report['repeats']} repeats of {report['questions']} questions: median ± half "
        "the middle half; those measured once are in memory alone. Start-up and memory are of a process of its own "
        "each. The peers have random weights of their published sizes: speed and memory don't depend on the values."
    )
    if report["load_at_end"] is not None:
        about += f" The machine's load was {report['load_at_end']:.1f} at the end; above the threads, others ran too."
    timed = (
        ("cold", "cold question: photo file to answer, ms"),
        ("next", "next question on the same photo, ms"),
        ("explained", "the same with its default map, ms"),
        ("rate", "questions/s at the best batch, a photo each"),
        ("encoded_rate", "questions/s at the best batch, photos encoded before"),
        ("start", "start of the process to first answer, s"),
        ("peak", "peak memory, MB"),
    )
    table = [[label, *(_cell(rows[row]) for rows in found.values())] for row, label in timed]
    table.append(["parameters, M", *(f"{model['parameters'] / 1e6:.1f}" for model in models.values())])
    table.append(["weights on disk, MB", *(f"{model['megabytes']:.0f}" for model in models.values())])
    return as_page(
        "# Speed and memory, side by side",
        f"    {report['command']}",
        about,
        markdown_table(["", *(model["name"] for model in models.values())], table),
        "\n".join(f"- {model['name']}: {model['note']}." for model in models.values()),
        *_targets(found),
    )


def _cell(value: tuple[float, float] | None) -> str:
    if value is None:
        return "–"
    digits = max(0, 1 - math.floor(math.log10(max(value[0], 1e-9))))
    return f"{value[0]:.{digits}f} ± {value[1]:.{digits}f}"


def _targets(found: dict) -> list[str]:
    if not {"valm", "vilt"} <= found.keys():
        return []
    rows = []
    for label, row, way, target in TARGETS:
        ratio = found["valm"][row][0] / found["vilt"][row][0]
        met = ratio <= target if way == "at most" else ratio >= target
        rows.append((label, f"{way} {target:.3g}", f"{ratio:.3g}", "met" if met else "missed"))
    return [markdown_table(("ratio to ViLT-B/32", "target", "measured", ""), rows)]


def draw_report(report: dict, path: Path) -> None:
    """Bars of the three times on a logarithmic scale, and of the throughput."""
    from matplotlib.figure import Figure

    names = [model["name"] for model in report["models"].values()]
    found = [summary(model) for model in report["models"].values()]
    figure = Figure(figsize=(13, 3.8), layout="constrained")
    times, rates = figure.subplots(1, 2, width_ratios=(5, 4))
    kinds = (("cold", "cold question"), ("next", "next question"), ("explained", "with map"))
    for place, (row, label) in enumerate(kinds):
        bars = [(number, bar) for number, rows in enumerate(found) if (bar := rows[row])]
        times.bar(
            [number + 0.27 * (place - 1) for number, _ in bars],
            [median for _, (median, _) in bars],
            0.25,
            yerr=[deviation for _, (_, deviation) in bars],
            label=label,
        )
    times.set_yscale("log")
    times.set(ylabel="milliseconds")
    times.legend(frameon=False, fontsize=8)
    shown = [rows["rate"] or (0.0, 0.0) for rows in found]
    rates.bar(range(len(names)), [median for median, _ in shown], 0.6, yerr=[deviation for _, deviation in shown])
    rates.set_yscale("log")
    rates.set(ylabel="questions a second, a photo each")
    labels = [name.replace(" ", "\n").replace("-", "-\n") for name in names]  # on several lines, or they touch
    for axes in (times, rates):
        axes.set_xticks(range(len(names)), labels)
        axes.tick_params(axis="x", labelsize=7)
        axes.grid(axis="y", alpha=0.3)
        axes.set_axisbelow(True)
    figure.savefig(path, dpi=120)
