"""A hook of the documentation site: `README: Results` on a line of its own becomes that section of the README."""

import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def section(title: str) -> str:
    """The body of a README section, with links as they must read from docs/. Raises KeyError for an unknown one."""
    found = re.search(rf"(?ms)^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README.read_text(encoding="utf-8"))
    if found is None:
        raise KeyError(f"The README has no section {title!r}.")
    return found[1].strip().replace("](docs/", "](")


def on_page_markdown(markdown: str, **_) -> str:
    """Called by mkdocs for every page."""
    return re.sub(r"(?m)^README: (.+)$", lambda line: section(line[1]), markdown)
