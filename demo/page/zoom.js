// Two fingers on the map enlarge it where they are and move it about; one finger goes on selecting.
// It runs beside selection.js in the map's gr.HTML. Elsewhere two fingers enlarge the page, as everywhere.
{
  const MOST = 6; // times as large
  const fingers = new Map(); // where each is, by its pointer's number
  let view = {zoom: 1, x: 0, y: 0}; // x and y: how far the map is moved, in shares of its width and height
  let begun = null; // the view and the fingers when the second one came
  let photo = null;

  function show(zoom, x, y) {
    const within = (share) => Math.min(0, Math.max(1 - zoom, share)); // no edge comes into the frame
    view = {zoom, x: within(x), y: within(y)};
    element.toggleAttribute("data-enlarged", zoom > 1);
    for (const [name, value] of [["--zoom", zoom], ["--x", `${100 * view.x}%`], ["--y", `${100 * view.y}%`]])
      element.style.setProperty(name, value);
  }

  function spread() { // how far two fingers are apart in pixels, and the middle between them in shares of the map
    const [one, other] = fingers.values(), {left, top, width, height} = begun.frame;
    return {
      gap: Math.max(Math.hypot(one.x - other.x, one.y - other.y), 1),
      x: ((one.x + other.x) / 2 - left) / width,
      y: ((one.y + other.y) / 2 - top) / height,
    };
  }

  element.addEventListener("pointerdown", (event) => {
    const map = event.target.closest(".map");
    if (event.pointerType !== "touch" || !map) return;
    if (event.isPrimary) fingers.clear();
    fingers.set(event.pointerId, {x: event.clientX, y: event.clientY});
    if (fingers.size !== 2) return void (begun = null);
    begun = {...view, frame: map.getBoundingClientRect()};
    begun.spread = spread();
  });
  element.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId)) return;
    fingers.set(event.pointerId, {x: event.clientX, y: event.clientY});
    if (!begun) return;
    const now = spread(), zoom = Math.min(MOST, Math.max(1, begun.zoom * now.gap / begun.spread.gap));
    const moved = (name) => now[name] - (begun.spread[name] - begun[name]) / begun.zoom * zoom;
    show(zoom, moved("x"), moved("y"));
  });
  for (const end of ["pointerup", "pointercancel"])
    element.addEventListener(end, (event) => { fingers.delete(event.pointerId); begun = null; });
  element.addEventListener("click", (event) => { if (event.target.closest(".whole")) show(1, 0, 0); });

  new MutationObserver(() => { // another photo is whole again
    const now = element.querySelector("[data-photo]")?.dataset.photo;
    if (now !== photo) show(1, 0, 0);
    photo = now;
  }).observe(element, {childList: true, subtree: true, attributeFilter: ["data-photo"]});
}
