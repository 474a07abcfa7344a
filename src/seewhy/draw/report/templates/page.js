"use strict";
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const one = (selector, root = document) => root.querySelector(selector);

for (const control of all(".controls, .switch")) control.hidden = false;

// One map at a time: each card has its switch, and one switch turns all cards that have the name.
function show(card, index) {
  for (const part of all(".stage > .map, .about", card)) part.hidden = part.dataset.layer !== index;
}

function agree() {
  const chosen = new Set(all(".card .switch :checked").map((radio) => radio.value));
  for (const radio of all(".all input")) radio.checked = chosen.size === 1 && chosen.has(radio.value);
}

for (const radio of all(".card .switch input")) {
  radio.addEventListener("change", () => {
    show(radio.closest(".card"), radio.dataset.layer);
    agree();
  });
}
for (const radio of all(".all input")) {
  radio.addEventListener("change", () => {
    for (const card of all(".card")) {
      const own = all(".switch input", card).find((each) => each.value === radio.value);
      if (!own) {
        for (const each of all(".switch input", card)) each.checked = false;
        show(card, "none");
        continue;
      }
      own.checked = true;
      show(card, own.dataset.layer);
    }
  });
}
for (const radio of all(".card .switch :checked")) show(radio.closest(".card"), radio.dataset.layer);
agree();

// One picture: its switch is a strip of small pictures.
for (const radio of all(".single .switch input")) {
  const stage = one(".stage", radio.closest(".card"));
  const map = one(`.map[data-layer="${radio.dataset.layer}"]`, stage).cloneNode();
  map.hidden = false;
  const thumb = document.createElement("span");
  thumb.className = stage.classList.contains("crisp") ? "thumb crisp" : "thumb";
  thumb.append(one(".picture", stage).cloneNode(), map);
  for (const image of thumb.children) image.alt = "";
  radio.nextElementSibling.prepend(thumb);
}

// How strongly maps are drawn.
const slider = one("#opacity");
slider?.addEventListener("input", () => {
  document.documentElement.style.setProperty("--opacity", slider.value / 100);
  one(".amount").textContent = `${slider.value}%`;
  slider.setAttribute("aria-valuetext", `${slider.value}%`);
});
slider?.dispatchEvent(new Event("input")); // browsers keep a slider's place when a page is reloaded

// The original, as long as something is held.
function holds(handle, seen) {
  const turn = (held) => {
    seen.classList.toggle("original", held);
    if (handle.hasAttribute("aria-pressed")) handle.setAttribute("aria-pressed", held);
  };
  handle.addEventListener("pointerdown", (event) => event.button === 0 && turn(true));
  handle.addEventListener("contextmenu", (event) => event.pointerType === "touch" && event.preventDefault());
  handle.addEventListener("dragstart", (event) => event.preventDefault());
  handle.addEventListener("keydown", (event) => {
    if (event.key !== " " && event.key !== "Enter") return;
    event.preventDefault();
    turn(true);
  });
  for (const end of ["pointerup", "pointercancel", "pointerleave", "keyup", "blur"]) handle.addEventListener(end, () => turn(false));
}
for (const stage of all(".stage")) holds(stage, stage);
const original = one("#original");
if (original) holds(original, one("main"));

const truth = one("#truth");
const outline = () => one("main").classList.toggle("plain", !truth.checked);
truth?.addEventListener("change", outline);
if (truth) outline();

// Light or dark: as the system says, until the reader says otherwise.
const dark = one("#dark");
const system = matchMedia("(prefers-color-scheme: dark)");
function paint(isDark) {
  document.documentElement.dataset.theme = isDark ? "dark" : "light";
  dark.setAttribute("aria-pressed", isDark);
}
paint(system.matches);
const follow = (event) => paint(event.matches);
system.addEventListener("change", follow);
dark.addEventListener("click", () => {
  system.removeEventListener("change", follow);
  paint(dark.getAttribute("aria-pressed") === "false");
});

// Tables sort by any column, the best first: numbers from the largest, where ↓ says that less is
// better from the smallest; empty cells always last.
for (const table of all("table")) {
  const heads = all("thead th", table);
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const numeric = head.classList.contains("number");
      const first = numeric && !head.textContent.includes("↓") ? "descending" : "ascending";
      const second = first === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? second : first;
      for (const each of heads) each.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      const key = (row) => (numeric ? row.cells[column].dataset.value : row.cells[column].textContent.trim());
      const sign = order === "ascending" ? 1 : -1;
      const sorted = [...table.tBodies[0].rows].sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === "" || y === "") return (x === "") - (y === "");
        return sign * (numeric ? x - y : x.localeCompare(y, "en", { numeric: true }));
      });
      table.tBodies[0].append(...sorted);
      one("#said").textContent = `Sorted by ${button.textContent}, ${order}`;
    });
  });
}
