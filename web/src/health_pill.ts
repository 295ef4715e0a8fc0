/** The theatre's health as it stands in the bar. */

import { fill, h } from "./dom";
import type { Health } from "./health";

export function showHealth(place: HTMLElement, health: Health): void {
  place.className = `health ${health.tone}`;
  place.title = health.detail;
  fill(
    place,
    h("span", { class: "light", "aria-hidden": "true" }),
    h("span", { class: "verdict", role: "status" }, health.words),
    h("span", { class: "figures" }, health.figures.join(" · ")),
    health.detail !== "" && health.tone !== "off" && h("span", { class: "detail" }, health.detail),
  );
}
