
// Concepts: what is pointed at, focused or pressed in the legend is shown alone in every picture.
for (const gallery of all(".gallery")) {
  const entries = all(".legend li", gallery);
  let [side, pinned] = ["0", null];

  const show = (concept) => {
    gallery.classList.toggle("alone", concept !== null);
    for (const map of all(".stage > .map", gallery)) {
      map.hidden = map.dataset.side !== side || (map.dataset.concept ?? null) !== concept;
    }
    for (const each of all("[data-concept]:not(.map)", gallery)) {
      each.classList.toggle("dim", concept !== null && each.dataset.concept !== concept);
    }
  };
  const pin = (concept) => {
    pinned = concept === pinned ? null : concept;
    for (const entry of entries) one("button", entry).setAttribute("aria-pressed", entry.dataset.concept === pinned);
    show(pinned);
    const name = pinned === null ? "All concepts" : one(`.legend [data-concept="${pinned}"] bdi`, gallery).textContent;
    one("#said").textContent = pinned === null ? `${name} are shown` : `${name} is shown alone`;
  };
  const points = (handle, concept) => {
    handle.addEventListener("pointerenter", (event) => event.pointerType !== "touch" && show(concept));
    handle.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && show(pinned));
    handle.addEventListener("click", () => pin(concept));
  };

  for (const entry of entries) {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", false);
    button.append(...entry.childNodes);
    entry.append(button);
    points(button, entry.dataset.concept);
    button.addEventListener("focus", () => button.matches(":focus-visible") && show(entry.dataset.concept));
    button.addEventListener("blur", () => show(pinned));
  }
  gallery.addEventListener("keydown", (event) => event.key === "Escape" && pin(pinned));

  // Each concept alone, small: for those who point; the legend does the same by keyboard.
  for (const scene of all(".scene", gallery)) {
    const [stage, thumbs] = [one(".stage", scene), one(".thumbs", scene)];
    for (const entry of entries) {
      const thumb = document.createElement("span");
      thumb.className = stage.classList.contains("crisp") ? "thumb crisp" : "thumb";
      thumb.dataset.concept = entry.dataset.concept;
      thumb.title = one("bdi", entry).textContent;
      thumb.style.setProperty("--own", entry.dataset.color);
      const maps = all(`.map[data-concept="${entry.dataset.concept}"]`, stage).map((map) => map.cloneNode());
      for (const map of maps) map.hidden = map.dataset.side !== side;
      thumb.append(one(".picture", stage).cloneNode(), ...maps);
      for (const image of thumb.children) image.alt = "";
      points(thumb, entry.dataset.concept);
      thumbs.append(thumb);
    }
    thumbs.hidden = false;
  }

  for (const radio of all(".sides input", gallery)) {
    radio.addEventListener("change", () => {
      side = radio.value;
      for (const each of all(".thumb .map, .about [data-side]", gallery)) each.hidden = each.dataset.side !== side;
      show(pinned);
    });
    if (radio.checked) side = radio.value; // browsers keep what was chosen when a page is reloaded
  }
  for (const each of all(".thumb .map, .about [data-side]", gallery)) each.hidden = each.dataset.side !== side;
  show(null);
}
