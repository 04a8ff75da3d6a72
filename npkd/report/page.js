// The slider of a report, and what the points of its curve say. Without this script the page shows the last stage.
"use strict";
const byId = id => document.getElementById(id);
const points = [...document.querySelectorAll("[data-stage]")];
const pointed = byId("pointed"), slider = byId("stage");
const stages = slider ? JSON.parse(byId("stages").textContent) : [];

// A point says what it is when it is pointed at, tapped or reached by the keyboard; the slider goes there on a click.
for (const point of points) {
  const say = () => { pointed.textContent = point.getAttribute("aria-label"); };
  point.addEventListener("pointerenter", say);
  point.addEventListener("focus", say);
  pointed.textContent = "Point at a dot, or go there with the tab key: what it is stands here.";
  point.addEventListener("click", () => {
    const k = stages.findIndex(stage => stage.point === Number(point.dataset.stage));
    if (k >= 0) show(k);
  });
}

// Show stage k: its words, what is left of each group of neurons, and its point in the curve.
function show(k) {
  const stage = stages[k];
  slider.value = k;
  slider.setAttribute("aria-valuetext", stage.words);
  byId("said").textContent = stage.words;
  document.querySelectorAll("#path svg").forEach((drawing, g) => {
    const [words, path] = stage.groups[g], text = drawing.previousElementSibling;
    drawing.querySelector("path").setAttribute("d", path);
    text.querySelector("span").textContent = words;
    drawing.setAttribute("aria-label", text.textContent);
  });
  for (const point of points) point.classList.toggle("now", Number(point.dataset.stage) === stage.point);
}

if (slider) {
  slider.parentElement.hidden = false;
  slider.addEventListener("input", () => show(Number(slider.value)));
  show(stages.length - 1);
  // On paper stands the end.
  let kept = 0;
  addEventListener("beforeprint", () => { kept = Number(slider.value); show(stages.length - 1); });
  addEventListener("afterprint", () => show(kept));
}
