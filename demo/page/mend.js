() => {
  // What gradio's own elements lack, mended whenever one appears: a button to upload isn't named as it is written, a
  // picture, which is a button too, has no name at all, the link that downloads holds a second Tab stop, and the names of
  // its icons are English in every language. wiring.py puts the Chinese ones in.
  const names = IN_CHINESE ? NAMES : {};
  const named = Object.keys(names).flatMap((name) => [`[aria-label="${name}"]`, `[title="${name}"]`]).join() || "no-name";
  const mend = () => {
    for (const button of document.querySelectorAll("button.upload-container[aria-label]")) button.removeAttribute("aria-label");
    for (const picture of document.querySelectorAll("button > .image-frame > img"))
      picture.alt = picture.closest(".block").querySelector("label")?.innerText.trim() || "";
    for (const icon of document.querySelectorAll(named)) for (const kind of ["aria-label", "title"]) {
      const english = icon.getAttribute(kind);
      if (english in names) { icon.dataset.english = english; icon.setAttribute(kind, names[english]); }
    }
    for (const button of document.querySelectorAll("a.download-link > button")) button.tabIndex = -1;
  };
  let waiting = 0;
  const later = () => { waiting ||= requestAnimationFrame(() => { waiting = 0; mend(); }); };
  new MutationObserver(later).observe(document.body, {childList: true, subtree: true});
  mend();
}
