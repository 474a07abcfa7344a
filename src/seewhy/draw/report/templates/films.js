
// Pictures that came step by step: a slider each, and one for all.
for (const films of all(".films")) {
  const turns = all(".film", films).map((film) => {
    const [stage, slider] = [one(".stage img", film), one(".slider input", film)];
    if (!slider) return () => {};
    const frames = all(".frames img", film);
    const turn = () => {
      const frame = frames[slider.value];
      stage.src = frame.src;
      stage.alt = `${one("h3", film).textContent}, ${frame.alt}`;
      one(".amount", film).textContent = frame.alt;
      slider.setAttribute("aria-valuetext", frame.alt);
      for (const each of frames) each.parentElement.classList.toggle("now", each === frame);
    };
    slider.addEventListener("input", turn);
    frames.forEach((frame, place) => frame.addEventListener("click", () => {
      slider.value = place;
      turn();
    }));
    one(".slider", film).hidden = false;
    turn();
    return (share) => {
      slider.value = Math.round(share * slider.max);
      turn();
      return frames[slider.value].alt;
    };
  });
  const together = one(".together", films);
  if (!together) continue;
  together.hidden = false;
  const slider = one("input", together);
  slider.addEventListener("input", () => {
    const said = turns.map((turn) => turn(slider.value / slider.max));
    one(".amount", together).textContent = said[0];
    slider.setAttribute("aria-valuetext", said[0]);
  });
}
