/** What is wrong, in words, above the picture. One line each; the newest state of a thing replaces the one before. */

import { h, icon } from "./dom";
import type { Notice } from "./words";

export interface Shown extends Notice {
  key: string;
  action?: { label: string; run: () => void } | undefined;
  /** The person may put it away. */
  close?: (() => void) | undefined;
}

export class Notices {
  readonly root = h("div", { class: "notices", role: "status", "aria-live": "polite" });
  private shown = "";

  show(notices: readonly Shown[]): void {
    const now = JSON.stringify(notices.map(({ key, severity, title, text, action }) => [key, severity, title, text, action?.label]));
    if (now === this.shown) return;
    this.shown = now;
    this.root.replaceChildren(...notices.map(line));
  }
}

function line(notice: Shown): HTMLElement {
  return h(
    "div",
    { class: `notice ${notice.severity}`, "data-key": notice.key },
    h("div", { class: "said" }, h("strong", {}, notice.title), " ", notice.text),
    notice.action && h("button", { type: "button", onclick: notice.action.run }, notice.action.label),
    notice.close && h("button", { type: "button", class: "round", "aria-label": "Put away", onclick: notice.close }, icon("close")),
  );
}
