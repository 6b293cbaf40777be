"""Whoever is sent to a part of the page that is built only when its accordion opens, gets there once it is built."""

import json

# A slow browser needs seconds for that. Who clicks elsewhere meanwhile stays there.
GO_TO = """(opener, wanted) => {
  const own = new AbortController(), end = Date.now() + 30000;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  document.addEventListener("click", (event) => event.isTrusted && own.abort(), {signal: own.signal, capture: true});
  document.querySelector(`${opener} > button:not(.open)`)?.click();
  (function reach() {
    if (own.signal.aborted) return;
    const place = document.querySelector(wanted);
    if (!place?.getBoundingClientRect().height && Date.now() < end) return setTimeout(reach, 50);
    own.abort();
    place?.focus({preventScroll: true});
    place?.scrollIntoView({behavior: calm ? "auto" : "smooth", block: "center"});
  })();
}"""


def go_to(accordion: str, place: str) -> str:
    """JavaScript of a click that opens an accordion and goes to a place in it; both are CSS selectors."""
    return f"() => ({GO_TO})({json.dumps(accordion)}, {json.dumps(place)})"
