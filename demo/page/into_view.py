"""What an event brought onto the page is brought into view: no component of gradio can scroll to another."""

import json

# What stands around it may come later and move it, so look again until it rests, unless the person goes elsewhere.
SCROLL = """async (wide, phone) => {
  const narrow = matchMedia("(max-width: 699px)").matches, [wanted, top] = narrow ? phone : wide;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches, start = performance.now();
  const own = new AbortController();
  for (const kind of ["wheel", "touchstart", "keydown", "mousedown"])
    addEventListener(kind, () => own.abort(), {signal: own.signal, passive: true});
  let before = NaN, rests = 0;
  while (rests < 3 && performance.now() - start < 3000) {
    await new Promise((done) => setTimeout(done, 50));
    if (own.signal.aborted) return;
    const box = (document.querySelector(wanted) ?? document.querySelector(wide[0]))?.getBoundingClientRect();
    const place = box?.bottom, moves = place !== before;
    before = place;
    if (!box?.height || moves) { rests = 0; continue; }
    if (place <= innerHeight && box.top >= 0) { rests += 1; continue; }
    const first = document.querySelector(top);
    if (Math.abs(first.getBoundingClientRect().top) < 2) { rests += 1; continue; }
    first.scrollIntoView({behavior: calm ? "auto" : "smooth", block: "start"});
  }
  own.abort();
}"""


def into_view(wanted: str, top: str, phone: tuple[str, str] | None = None) -> str:
    """JavaScript that scrolls until one part of the page is seen whole, unless it is already.

    Args:
        wanted: selects the part that is to be seen.
        top: selects what then stands at the screen's upper edge, the part itself or what leads to it.
        phone: both in a narrow window, where ``wanted`` serves as long as the part wanted there isn't on the page.
    """
    wide = [wanted, top]
    return f"() => ({SCROLL})({json.dumps(wide)}, {json.dumps(phone or wide)})"
