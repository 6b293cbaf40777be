"""Every state of the page at four widths, light and dark, in both languages: pictures to look at, and axe-core's word.

A part is one width, theme, language and group of states. The report has the parts that were walked so far: a later call
adds its own to it, and leaves out those that it has, unless told ``--again``.

Example:
    python -m tests.browser.every_state --pictures /tmp/pictures --report docs/reports/running/every_state.json
    python -m tests.browser.every_state --widths 390 --themes light --locales en-US --groups panels --report FILE
"""

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "helpers")]
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

SIZES = {390: 844, 768: 1024, 1440: 900, 2560: 1440}
THEMES, LOCALES = ("light", "dark"), ("en-US", "zh-CN")
KINDS = ("axe", "small_targets")
GROUPS = ("start", "panels", "later", "what if", "find", "more")
FINGERS = 1000  # narrower windows are those of phones and tablets
PATIENCE = 120_000  # milliseconds that a step may take on a busy machine
PHOTO = ROOT / "assets" / "examples" / "coffee.jpg"


def serve_all(folder: Path, groups: list[str]):
    """The page with all that is shipped and these groups need, and the form for corrections: its address's manager."""
    from served_page import served

    from demo.finding.collection import open_collection
    from demo.more.models import open_models
    from demo.serve import load_captioner
    from demo.settings import SHIPPED_CAPTIONER, SHIPPED_FINDER, Settings, checkpoint_folder
    from valm_core.loading import load_predictor

    os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
    photos = folder / "photos"
    photos.mkdir()
    for path in sorted((ROOT / "assets" / "examples").glob("*.jpg"))[: None if "find" in groups else 1]:
        shutil.copy(path, photos)
    settings = Settings(feedback=str(folder / "corrections.db"))
    predictor, captioner = load_predictor(checkpoint_folder()), load_captioner(SHIPPED_CAPTIONER)
    collection = open_collection(str(photos), "", SHIPPED_FINDER)
    return served(predictor, settings, collection, captioner, open_models(settings.more))


def own_photo() -> Path:
    """An example photo in a file of its own, so that it is a visitor's."""
    from PIL import Image

    path = Path(tempfile.gettempdir()) / "valm-own-photo.jpg"
    Image.open(PHOTO).save(path, quality=80)
    return path


def walk(page, url: str, theme: str, group: str):
    """The name of each state of a group, once ``page`` is in it."""
    import page_states
    import page_steps

    address = f"{{}}/?__theme={theme}"
    if group == "start":
        come = page_steps.open_unloaded(page, address.format(url))
        page.locator("#first-frame").wait_for()
        yield "before gradio"
        come()
    elif group in ("find", "more"):
        page.goto(address.format(f"{url}/{group}"))
    else:
        page.goto(address.format(url))
    if group == "find":
        page.locator("#find-button").wait_for()
        yield from page_states.finding(page, "a cup of coffee", own_photo())
        page.goto(address.format(f"{url}/api"))
        yield "api"
        return
    if group == "more":
        page.locator("#more-run").wait_for()
        yield from page_states.more(page)
        return
    page.locator("#ask").wait_for()
    page.locator("#first-frame").wait_for(state="hidden")
    if group == "start":
        yield from page_states.before_an_answer(page, own_photo())
        yield from page_states.after_an_answer(page)
        return
    page_states.answered(page, own_photo())
    if group == "panels":
        yield from page_states.panels(page)
    elif group == "what if":
        yield from page_states.what_if(page)
    else:
        yield from page_states.later_questions(page, describes=True)


def picture(page, height: int, fingers: bool) -> bytes:
    """The page down to a height as PNG.

    A picture of more than the window takes the fingers away, so with fingers the window is made as high as the page.
    """
    if not fingers or height <= page.viewport_size["height"]:
        return page.screenshot(full_page=height > page.viewport_size["height"])
    former = page.viewport_size
    page.set_viewport_size({"width": former["width"], "height": height})
    shot = page.screenshot()
    page.set_viewport_size(former)
    return shot


# Whatever a finger is to hit, smaller than 44 px: not the map's cells, which a drag selects, nor links within a text.
SMALL_TARGETS = """() => {
  const small = [];
  for (const one of document.querySelectorAll("button, input, select, a[href], [role=button], [role=option]")) {
    if (one.matches(".cell, :disabled")) continue;
    if (!one.checkVisibility({visibilityProperty: true, opacityProperty: true})) continue;
    if (one.matches("a") && getComputedStyle(one).display === "inline") continue;
    const label = one.matches("[type=checkbox], [type=radio]") && one.closest("label");
    const box = (label || one).getBoundingClientRect();
    if (box.width > 1 && box.height > 1 && Math.min(box.width, box.height) < 43.5)
      small.push(`${Math.round(box.width)} × ${Math.round(box.height)} px: ${(label || one).outerHTML.slice(0, 120)}`);
  }
  return small;
}"""


def visit(browser, url: str, width: int, theme: str, locale: str, group: str, pictures: Path | None) -> dict:
    """Walk through a group's states once, as far as it goes: what was seen by state, and what went wrong.

    Returns:
        ``states``, each with what axe-core finds, targets too small for a finger, and the page's height and width in
        pixels; ``errors`` of the page's scripts; ``stopped``, why the walk ended before its end, "" where it didn't.
    """
    from page_states import settle
    from page_steps import findings
    from playwright.sync_api import Error

    fingers = width < FINGERS
    context = browser.new_context(
        viewport={"width": width, "height": SIZES[width]},
        has_touch=fingers,
        is_mobile=fingers,
        locale=locale,
        color_scheme=theme,
        reduced_motion="reduce",
    )
    page, found, errors, stopped = context.new_page(), {}, [], ""
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.set_default_timeout(PATIENCE)
    number = 0
    try:
        for number, state in enumerate(walk(page, url, theme, group)):
            if state not in ("before gradio", "api"):
                settle(page)
            page.evaluate("scrollTo(0, 0)")  # on a phone the words stick over what lies half below them
            tall = page.evaluate("document.documentElement.scrollHeight")
            found[state] = {
                "findings": findings(page).splitlines(),
                "small": page.evaluate(SMALL_TARGETS) if fingers else [],
                "height": tall,
                "width": page.evaluate("document.documentElement.scrollWidth"),
            }
            if pictures:
                height = SIZES[width] if state == "large" else tall
                file = pictures / file_name(number, state, width, theme, locale, group)
                file.write_bytes(picture(page, height, fingers))
    except Error as error:
        stopped = f"after {[*found][-1:]}: {str(error).splitlines()[0]}"
        if pictures:
            file = pictures / file_name(number + 1, "stopped", width, theme, locale, group)
            file.write_bytes(page.screenshot())
    context.close()
    return {"states": found, "errors": errors, "stopped": stopped}


def file_name(number: int, state: str, width: int, theme: str, locale: str, group: str) -> str:
    """What the picture of a group's state is called."""
    plain = state.replace(" ", "_").replace(",", "")
    return f"{group.replace(' ', '_')}-{number:02}-{plain}-{width}-{theme}-{locale[:2]}.png"


def summary(walked: dict) -> dict:
    """What a part's walk leaves in the report: its states' names and heights, and all that is wrong."""
    states = walked["states"]
    width = min((one["width"] for one in states.values()), default=0)
    return {
        "heights": {state: one["height"] for state, one in states.items()},
        "axe": by_finding({state: one["findings"] for state, one in states.items()}),
        "small_targets": by_finding({state: one["small"] for state, one in states.items()}),
        "too_wide": {state: one["width"] for state, one in states.items() if one["width"] > width},
        "errors": walked["errors"],
        "stopped": walked["stopped"],
    }


def by_finding(found: dict[str, list[str]]) -> dict[str, list[str]]:
    """In which states each finding was made, without the server's address."""
    states: dict[str, list[str]] = {}
    for state, findings in found.items():
        for finding in findings:
            states.setdefault(re.sub(r"127\.0\.0\.1:\d+", "server", finding), []).append(state)
    return states


def report_text(parts: dict) -> str:
    """The report to read: a row a state, a column a width, theme and language, in it the number of findings."""
    visits = [visit for visit in map(as_name, product(SIZES, THEMES, LOCALES)) if f"{visit} " in " ".join(parts)]
    every = len(SIZES) * len(THEMES) * len(LOCALES) * len(GROUPS)
    lines = [
        "# Every state of the page",
        "",
        "By `python -m tests.browser.every_state`, with the shipped models: what axe-core finds, by all its rules up "
        "to AA, + how many targets are below 44 px on touch screens; – where that state was not walked.",
        "",
        f"Walked so far, of {every} parts (width, theme, language and group of states): "
        f"{sum(not part['stopped'] for part in parts.values())} whole, "
        f"{sum(bool(part['stopped']) for part in parts.values())} until they stopped.",
        "",
        "| state | " + " | ".join(visits) + " |",
        "|---|" + len(visits) * "---:|",
    ]
    for group in GROUPS:
        of_group = {visit: parts[f"{visit} {group}"] for visit in visits if f"{visit} {group}" in parts}
        for state in dict.fromkeys(state for part in of_group.values() for state in part["heights"]):
            cells = [counts_text(of_group.get(visit), state) for visit in visits]
            lines.append(f"| {state} | " + " | ".join(cells) + " |")
    for name, part in parts.items():
        found = [f"{finding} (states: {len(states)})" for kind in KINDS for finding, states in part[kind].items()]
        found += [f"too wide: {part['too_wide']}"] if part["too_wide"] else []
        found += [*part["errors"], *([f"stopped {part['stopped']}"] if part["stopped"] else [])]
        lines += ["", f"{name}: {len(part['heights'])} states.", "", *(f"- `{one}`" for one in found)]
    return "\n".join(lines) + "\n"


def counts_text(part: dict | None, state: str) -> str:
    """What was found in a state, counted; a dash where it wasn't walked."""
    if part is None or state not in part["heights"]:
        return "–"
    return " + ".join(str(sum(states.count(state) for states in part[kind].values())) for kind in KINDS)


def as_name(part: tuple) -> str:
    """What a part is called in the report."""
    return " ".join(map(str, part))


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, help="folder for a picture of each state; default: none is made")
    parser.add_argument("--report", type=Path, help="add what was found to this JSON file, and to a table beside it")
    parser.add_argument("--again", action="store_true", help="also walk the parts that the report has")
    parser.add_argument("--widths", type=int, nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--themes", nargs="+", default=list(THEMES), choices=THEMES)
    parser.add_argument("--locales", nargs="+", default=list(LOCALES), choices=LOCALES)
    parser.add_argument("--groups", nargs="+", default=list(GROUPS), choices=GROUPS)
    options = parser.parse_args(arguments)
    from playwright.sync_api import sync_playwright

    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
    from chromium import find_chromium

    chromium = find_chromium()
    known = options.report and options.report.exists()
    report = json.loads(options.report.read_text(encoding="utf-8")) if known else {}
    wanted = product(options.widths, options.themes, options.locales, options.groups)
    done = set() if options.again else {name for name, part in report.items() if not part["stopped"]}
    left = {as_name(part): part for part in wanted if as_name(part) not in done}
    with (
        tempfile.TemporaryDirectory() as folder,
        serve_all(Path(folder), options.groups) as url,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for name, part in left.items():
            start = time.time()
            report[name] = summary(visit(browser, url, *part, options.pictures))
            faults = {kind: found for kind, found in report[name].items() if found and kind != "heights"}
            print(f"{name}: {len(report[name]['heights'])} states, {time.time() - start:.0f} s", flush=True)
            print(json.dumps(faults, indent=1, ensure_ascii=False) if faults else "nothing is wrong", flush=True)
            if options.report:
                options.report.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
                options.report.with_suffix(".md").write_text(report_text(report), encoding="utf-8")
        browser.close()


if __name__ == "__main__":
    main()
