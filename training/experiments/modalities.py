"""What texts tell, what photos tell, and what both tell by every fusion, over several seeds: for tasks with labels.

Example:
    python -m training.modalities --config training/configs/feel.yaml --seeds 5 --output runs/modalities \\
        --report docs/reports/studies/feel

What was finished in the output folder is kept, so that the same command goes on after an interruption. The report
says accuracy and macro F1, each with its standard deviation over the seeds, as FILE.md and FILE.json.
"""

import argparse
import itertools
import json
import statistics
from pathlib import Path

import yaml

from training.datasets.readers.captioned import captions_fingerprint, read_captioned_photos
from training.datasets.readers.labelled import LabelledText, labelled_fingerprint, read_labelled_texts
from training.made_from import check_finished, of_settings
from training.measuring.common import as_page, markdown_table, tell_report
from training.run_config import check_one_process, parse_overrides, read_config
from training.train import train
from valm_core.checkpoints.atomic_files import write_text
from valm_core.commands import ending_in_a_line
from valm_core.model.build_tasks import TEXT_ALONE
from valm_core.model.fusion.families import FUSIONS

SAME_TEXT = "post"  # what every row says where only photos may tell
PHOTO_ALONE = "photo alone"
VARIANTS = {"text alone": TEXT_ALONE, PHOTO_ALONE: "bi_attention"} | {f"both, {name}": name for name in FUSIONS}


def write_textless(rows: list[LabelledText], path: Path) -> str:
    """Write rows with the same text each into a file, and return its name; each must have a photo."""
    lines = [{"image": str(row.image and row.image.resolve()), "text": SAME_TEXT, "label": row.label} for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def run_study(config: str, overrides: dict, seeds: int, output: Path, command: str, device: str) -> dict:
    """Train every variant with every seed and gather their figures on the validation rows.

    Raises:
        ValueError: the config's task has no labels, or a finished run in ``output`` was made from other settings.
    """
    check_one_process("A study of texts and photos")
    run, model, _ = read_config(config, overrides)
    files = {"data": run.data, "validation": run.validation}
    rows = {name: read_labelled_texts(source, model.task) for name, source in files.items()}
    textless = {name: write_textless(own, (output / f"{name}.jsonl").resolve()) for name, own in rows.items()}
    data = {name: labelled_fingerprint(own) for name, own in rows.items()}
    if run.rehearsal:
        data["rehearsal"] = captions_fingerprint(read_captioned_photos(run.rehearsal, "train"))
    variants: dict[str, list[dict]] = {}
    for seed, (name, fusion) in itertools.product(range(seeds), VARIANTS.items()):
        folder = output / name.replace(", ", "_").replace(" ", "_") / str(seed)
        settings = overrides | {"fusion": fusion, "seed": seed, "output": str(folder)}
        if fusion != "bi_attention":
            settings |= {"similarity": False}
        settings |= textless if name == PHOTO_ALONE else {}
        configs = read_config(config, settings)
        done = folder / "figures.json"
        check_finished(folder, done.is_file(), of_settings(*configs, data))
        if not done.is_file():
            report = train(*configs, command, device=device)
            kept = {key: report[key] for key in ("accuracy", "macro_f1", "f1", "best_epoch", "always_commonest")}
            write_text(done, json.dumps({"seed": seed} | kept))
        variants.setdefault(name, []).append(json.loads(done.read_text(encoding="utf-8")))
    facts = {"command": command, "config": config, "task": model.task, "rows": len(rows["validation"])}
    return facts | {"variants": variants}


def study_report(study: dict) -> str:
    """The study as Markdown."""
    runs = study["variants"]
    floor = next(iter(runs.values()))[0]["always_commonest"]
    text = [run["macro_f1"] for run in runs["text alone"]]
    rows = []
    for name, own in runs.items():
        more = [run["macro_f1"] - base for run, base in zip(own, text, strict=True)]
        apart = "" if name == "text alone" else ", ".join(f"{100 * value:+.1f}" for value in more)
        rows.append((name, _spread(own, "accuracy"), _spread(own, "macro_f1"), apart))
    return as_page(
        f"# What texts tell, what photos tell: `{study['task']}`",
        f"{study['rows']} validation rows, from which also each run's epoch was chosen; mean ± standard deviation, "
        f'seeds: {len(next(iter(runs.values())))}, in percent. Always "{floor["label"]}": accuracy '
        f"{100 * floor['accuracy']:.1f}, macro F1 {100 * floor['macro_f1']:.1f}.",
        markdown_table(("", "accuracy", "macro F1", "macro F1 minus text alone, by seed"), rows),
        "Made by:",
        f"    {study['command']}",
    )


def _spread(runs: list[dict], figure: str) -> str:
    values = [100 * run[figure] for run in runs]
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{deviation}"


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="YAML file of a task with labels, or the name of a shipped one")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each variant (default 5)")
    parser.add_argument("--output", required=True, help="folder of the runs")
    parser.add_argument("--report", required=True, help="where to write the report, without .md or .json")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("settings", nargs="*", metavar="name=value", help="change any setting of the config")
    options = parser.parse_intermixed_args(arguments)
    if options.seeds < 1:
        parser.error(f"--seeds is {options.seeds}; a number above 0 is needed.")
    words = ["python -m training.modalities --config", options.config, f"--seeds {options.seeds}"]
    words += [f"--output {options.output} --report {options.report}", *options.settings]
    with ending_in_a_line(parser, FloatingPointError, yaml.YAMLError, writes=f"{options.report}.json"):
        overrides = parse_overrides(options.settings)
        study = run_study(
            options.config, overrides, options.seeds, Path(options.output), " ".join(words), options.device
        )
        tell_report(study, study_report(study), f"{options.report}.json")


if __name__ == "__main__":
    main()
