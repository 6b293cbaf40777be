"""Which of gradio's files the first view of the page needs, so that a browser fetches them side by side.

Gradio's frontend learns in four steps which files come next: its first script, the one that lays pages out, the list
of components, each component. On a slow line every step waits for the one before. The names are read out of the built
frontend, where vite wrote them; where a later gradio writes them otherwise, nothing is told and all works as before.
"""

import functools
import re
from pathlib import Path

import gradio

FRONTEND = Path(gradio.__file__).parent / "templates" / "frontend"
# What stands in the left column of the page, in the frontend's names.
KINDS = ("column", "row", "form", "html", "image", "textbox", "button", "accordion")
ENTRY = re.compile(r'src="\./assets/(index-[\w-]+\.js)"')
NAMED = re.compile(r'(?:src|href)="\./assets/([\w.-]+\.(?:js|css))"')
FILES = re.compile(r"m\.f=\[([^\]]*)\]")
COMPONENT = r"[,{{]{kind}:\{{(.*?\))\}}"  # the loaders of one kind of component
NEEDED = re.compile(r"__vite__mapDeps\(\[([\d,]*)\]\)")


@functools.cache
def first_files(frontend: Path = FRONTEND) -> tuple[str, ...]:
    """Names of files in the frontend's folder ``assets``, in the order in which they are wanted; perhaps none."""
    assets = frontend / "assets"
    try:
        (entry,) = ENTRY.findall((frontend / "index.html").read_text(encoding="utf-8"))
        start = listed(assets / entry)
        (layout,) = (name for name in start if name.startswith("Index-") and name.endswith(".js"))
        (blocks,) = (name for name in listed(assets / layout) if re.fullmatch(r"Blocks-[\w-]+\.js", name))
        wanted = [*start, blocks]
        for core in (name for name in start if re.fullmatch(r"core-[\w-]+\.js", name)):
            files, text = listed(assets / core), (assets / core).read_text(encoding="utf-8")
            for kind in KINDS:
                loaders = re.search(COMPONENT.format(kind=kind), text)
                places = NEEDED.findall(loaders.group(1)) if loaders else []
                wanted += [files[int(place)] for place in ",".join(places).split(",") if place]
    except (OSError, ValueError, IndexError):
        return ()
    return tuple(dict.fromkeys(name for name in wanted if not name.startswith("index-")))


def entry_files(frontend: Path = FRONTEND) -> tuple[str, ...]:
    """Names of the script and the style sheets that gradio's HTML itself names."""
    try:
        return tuple(NAMED.findall((frontend / "index.html").read_text(encoding="utf-8")))
    except OSError:
        return ()


def listed(script: Path) -> list[str]:
    """The files that a script of the frontend may fetch later, as vite lists them at its top. Raises ValueError."""
    (names,) = FILES.findall(script.read_text(encoding="utf-8")[:20_000]) or [""]
    return re.findall(r'"\./([^"]+)"', names)


def preload_html() -> str:
    """The links that tell a browser about them."""
    style, script = 'rel="preload" as="style" crossorigin', 'rel="modulepreload"'
    files = first_files(FRONTEND)
    return "".join(f'<link {style if name.endswith(".css") else script} href="./assets/{name}">' for name in files)
