"""What an event brought onto the page is brought into view: no component of gradio can scroll to another."""

import json

# What stands around it may come later and move it, so look again until it rests, unless the person goes elsewhere.
SCROLL = """async (wide, phone) => {
  const narrow = matchMedia("(max-width: 699px)").matches, parts = narrow ? phone : wide;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches, start = performance.now();
  const own = new AbortController();
  for (const kind of ["wheel", "touchstart", "keydown", "mousedown"])
    addEventListener(kind, () => own.abort(), {signal: own.signal, passive: true});
  let before = NaN, rests = 0;
  while (rests < 3 && performance.now() - start < 3000) {
    await new Promise((done) => setTimeout(done, 50));
    if (own.signal.aborted) return;
    const [wanted, top] = parts.find(([part]) => document.querySelector(part)) ?? [];
    const box = wanted && document.querySelector(wanted).getBoundingClientRect();
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
Part = tuple[str, str]  # selects what is to be seen, and what then stands at the screen's upper edge


def into_view(*wide: Part, phone: tuple[Part, ...] = ()) -> str:
    """JavaScript that scrolls until one part of the page is seen whole, unless it is already.

    Args:
        wide: the part that is to be seen, the first of them that is on the page; and what then stands at the screen's
            upper edge, the part itself or what leads to it.
        phone: the same in a narrow window; as in a wide one by default.
    """
    return f"() => ({SCROLL})({json.dumps(wide)}, {json.dumps(phone or wide)})"
