// Selecting by mouse, touch and keyboard in a row or grid of buttons: the words, the photo's cells, the heads.
//
// Own JavaScript, because no gradio component serves: gr.Image tells of clicks, but not of drags, and can't be reached by
// keyboard; gr.Radio and gr.CheckboxGroup make every word a Tab stop and don't move by arrow keys.
// It runs in a gr.HTML, which gives `element` and `trigger`. What is selected is drawn by the server; the buttons stay the
// same elements when it answers, so that the focus stays.

const buttons = () => [...element.querySelectorAll("[data-item]")];
const buttonAt = (event) => document.elementFromPoint(event.clientX, event.clientY)?.closest("[data-item]");
const columns = () => Number(element.querySelector("[data-columns]").dataset.columns);
const adding = (event) => event.ctrlKey || event.metaKey || event.shiftKey;
const send = (selected, add) => {
  preview(null);
  trigger("pick", {items: selected.map((button) => Number(button.dataset.item)), add});
};

// What a click would show, shown under the mouse and the keyboard's focus already: a word's map on the cells, a cell's
// words on the words. No server is asked; an item that is selected has no preview, its own map is there.
function preview(button) {
  const target = document.querySelector(element.querySelector("[data-preview-on]")?.dataset.previewOn ?? "#none");
  const selected = button?.ariaPressed === "true" || button?.ariaSelected === "true";
  const shares = selected ? undefined : button?.dataset.shares?.split(",");
  target?.classList.toggle("preview", shares !== undefined);
  const look = target?.dataset.colours ? target.dataset : null; // a map previewed has the look that a click gives it
  if (look) target.style.backgroundImage = shares ? `url(${heat(shares, look)}), url(${look.photo})` : "";
  else for (const other of target?.querySelectorAll("[data-item]") ?? [])
    other.style.setProperty("--share", (shares?.[other.dataset.item] ?? 0) / 100);
}

// A map as a picture, a cell a pixel (raw ones more, so that they aren't smoothed), as demo/rendering/overlay.py draws
// it: hundredths of the hottest cell, denser the hotter.
function heat(shares, look) {
  const colours = look.colours.split(" "), width = Number(look.columns), side = "raw" in look ? 16 : 1;
  const canvas = Object.assign(document.createElement("canvas"), {width: width * side, height: shares.length / width * side});
  const pen = canvas.getContext("2d");
  shares.forEach((share, place) => {
    pen.fillStyle = `rgb(${colours[Math.round(share / 100 * (colours.length - 1))]},${look.density * share / 100})`;
    pen.fillRect(place % width * side, Math.floor(place / width) * side, side, side);
  });
  return canvas.toDataURL();
}

// The buttons of the box between two of them, both included.
function box(one, other) {
  const all = buttons(), width = columns();
  const [a, b] = [all.indexOf(one), all.indexOf(other)];
  const [top, bottom] = [a, b].map((place) => Math.floor(place / width)).sort((x, y) => x - y);
  const [left, right] = [a % width, b % width].sort((x, y) => x - y);
  return all.filter((_, place) => {
    const row = Math.floor(place / width), column = place % width;
    return top <= row && row <= bottom && left <= column && column <= right;
  });
}

// A finger that rests on a button previews it, since it can't hover; letting go then selects nothing.
const LONG_PRESS = 400; // milliseconds
let pressing = 0; // the timer
let previewed = false;

let corner = null; // where a drag, or a box by Shift and arrow keys, began
let dragging = false;
let boxed = []; // by Shift and arrow keys, not yet sent
const draggable = () => element.querySelector("[data-draggable]") !== null;
const mark = (marked) => buttons().forEach((button) => button.classList.toggle("in-box", marked.includes(button)));

// A fingertip covers several cells of a small map: it selects as many as 44 pixels take, the same ones again none. Two
// fingers enlarge the map, so that it covers one.
const FINGER = 44, STILL = 15; // pixels; so far a finger may move that only taps
let byFinger = false;
let down = null; // where the finger came
function touched(button, event) {
  const all = buttons(), place = all.indexOf(button), width = columns(), height = all.length / width;
  const {left, top, width: wide, height: high} = button.getBoundingClientRect();
  const along = (at, place, side, most) => {
    const count = Math.min(most, Math.max(1, Math.ceil(FINGER / side)));
    const first = Math.round(place + at / side - count / 2); // the finger is in their middle
    return [Math.min(most - count, Math.max(0, first)), count];
  };
  const [column, across] = along(event.clientX - left, place % width, wide, width);
  const [row, rows] = along(event.clientY - top, Math.floor(place / width), high, height);
  const cells = box(all[row * width + column], all[(row + rows - 1) * width + column + across - 1]);
  const before = all.filter((one) => one.ariaSelected === "true");
  return cells.length > 1 && before.length === cells.length && cells.every((one) => before.includes(one)) ? [] : cells;
}

element.addEventListener("click", (event) => {
  if (previewed) return (previewed = false);
  const button = event.target.closest("[data-item]"); // a drag ends on two buttons, which gives no click on either
  if (button) send(byFinger && draggable() ? touched(button, event) : [button], adding(event));
});

element.addEventListener("pointerdown", (event) => {
  corner = event.target.closest("[data-item]");
  dragging = draggable() && corner !== null && event.button === 0 && event.isPrimary; // two fingers enlarge, and mark nothing
  previewed = false;
  byFinger = event.pointerType === "touch";
  down = event;
  clearTimeout(pressing);
  if (!event.isPrimary) mark([]);
  else if (corner && event.pointerType === "touch")
    pressing = setTimeout(() => { previewed = true; dragging = false; mark([]); preview(corner); }, LONG_PRESS);
});
element.addEventListener("contextmenu", (event) => { if (previewed) event.preventDefault(); });
element.addEventListener("pointerover", (event) => {
  if (event.pointerType === "mouse") preview(dragging ? null : event.target.closest("[data-item]"));
});
element.addEventListener("pointermove", (event) => {
  const end = dragging ? buttonAt(event) : null;
  if (buttonAt(event) !== corner) clearTimeout(pressing);
  if (end && element.contains(end)) mark(end === corner ? [] : box(corner, end));
});
element.addEventListener("pointerup", (event) => {
  clearTimeout(pressing);
  if (previewed) preview(null);
  const still = byFinger && Math.hypot(event.clientX - down.clientX, event.clientY - down.clientY) < STILL;
  const end = dragging && !still ? buttonAt(event) : null;
  if (end && element.contains(end) && end !== corner) send(box(corner, end), adding(event));
  dragging = false;
  mark([]);
});
element.addEventListener("pointercancel", () => { clearTimeout(pressing); dragging = false; mark([]); });
element.addEventListener("pointerleave", () => { clearTimeout(pressing); dragging = false; mark([]); preview(null); });
element.addEventListener("focusin", (event) => { if (event.target.matches(":focus-visible")) preview(event.target.closest("[data-item]")); });
element.addEventListener("focusout", () => preview(null));

element.addEventListener("keydown", (event) => {
  const from = event.target.closest("[data-item]");
  byFinger = false;
  if (!from) return;
  const all = buttons(), place = all.indexOf(from), width = columns();
  const selected = all.some((one) => one.ariaPressed === "true" || one.ariaSelected === "true");
  if (event.key === "Escape" && selected) send([], false);
  const steps = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -width, ArrowDown: width, Home: -place, End: all.length - 1 - place};
  if (!(event.key in steps)) return;
  event.preventDefault();
  const to = all[place + steps[event.key]];
  if (!to) return;
  to.focus();
  if (!event.shiftKey) corner = to;
  else if (draggable()) {
    if (!corner || !element.contains(corner)) corner = from;
    boxed = box(corner, to);
    mark(boxed);
  }
});
// One message a box, when Shift is let go: messages in quick succession may reach the server in another order.
element.addEventListener("keyup", (event) => {
  if (event.key !== "Shift" || !boxed.length) return;
  send(boxed, false);
  boxed = [];
  mark(boxed);
});
