/** The dialog before joining: who am I, how do I look, what is on. */

import { fill, h, icon, say, show } from "./dom";
import type { OwnMedia } from "./own";
import { attach } from "./stage";

const NAME_KEY = "orbridge-name";
const NAME_LIMIT = 60;

export interface JoinHow {
  own: OwnMedia;
  /** The person is ready. */
  join: (name: string) => void;
  /** The dialog was left without joining. */
  cancelled: () => void;
}

export class JoinDialog {
  readonly root: HTMLDialogElement;
  private readonly video = h("video", { autoplay: true, playsinline: true, class: "mirrored", "aria-label": "Your own picture" });
  private readonly off = h("p", { class: "off" });
  private readonly mic = toggleButton(() => this.toggle("audio"));
  private readonly camera = toggleButton(() => this.toggle("video"));
  private readonly notices = h("div", { class: "dialog-notices", role: "status" });
  private readonly name = h("input", {
    id: "own-name",
    type: "text",
    maxlength: NAME_LIMIT,
    autocomplete: "name",
    required: true,
    placeholder: "e.g. Dr. Li",
  });
  private readonly submit = h("button", { type: "submit", class: "primary" }, "Join");

  constructor(private readonly how: JoinHow) {
    this.video.muted = true;
    const form = h(
      "form",
      { method: "dialog", onsubmit: (event) => this.done(event) },
      h("h2", { id: "join-title" }, "Join the room"),
      h("div", { class: "preview" }, this.video, this.off, h("div", { class: "preview-buttons" }, this.mic, this.camera)),
      this.notices,
      h("label", { for: "own-name" }, "Your name, as the others see it"),
      this.name,
      h(
        "div",
        { class: "dialog-buttons" },
        h("button", { type: "button", onclick: () => this.cancel() }, "Cancel"),
        this.submit,
      ),
    );
    this.root = h("dialog", { class: "join", "aria-labelledby": "join-title", oncancel: () => this.how.cancelled() }, form);
  }

  open(suggested: string): void {
    this.name.value = localStorage.getItem(NAME_KEY) ?? suggested;
    this.root.showModal();
    this.name.select();
    this.show();
  }

  get isOpen(): boolean {
    return this.root.open;
  }

  /** Own media changed. */
  show(): void {
    if (!this.root.open) return;
    const { own } = this.how;
    attach(this.video, own.track("video"));
    const isOn = own.isOn("video");
    show(this.video, isOn);
    show(this.off, !isOn);
    say(this.off, own.isBusy("video") ? "Opening the camera…" : "Camera is off");
    setToggle(this.mic, "mic", "micOff", "Mic", own.isOn("audio"), own.isBusy("audio"));
    setToggle(this.camera, "camera", "cameraOff", "Camera", isOn, own.isBusy("video"));
    const found = [own.notices.audio, own.notices.video].filter((notice) => notice !== undefined);
    const seen = new Set<string>();
    const lines = found.filter((notice) => !seen.has(notice.text) && seen.add(notice.text));
    fill(
      this.notices,
      ...lines.map((notice) => h("p", { class: `notice ${notice.severity}` }, h("strong", {}, notice.title), " ", notice.text)),
    );
    const isBusy = own.isBusy("audio") || own.isBusy("video");
    const hasNothing = !own.track("audio") && !own.track("video");
    this.submit.disabled = isBusy || hasNothing;
    say(this.submit, hasNothing || isOn ? "Join" : "Join without camera");
  }

  private toggle(kind: "audio" | "video"): void {
    const { own } = this.how;
    void own.turn(kind, !own.isOn(kind));
  }

  private done(event: Event): void {
    const name = this.name.value.trim();
    if (!name) {
      event.preventDefault();
      return;
    }
    localStorage.setItem(NAME_KEY, name);
    this.how.join(name);
  }

  private cancel(): void {
    this.root.close();
    this.how.cancelled();
  }
}

export function toggleButton(run: () => void): HTMLButtonElement {
  return h("button", { type: "button", class: "control", onclick: run });
}

export function setToggle(
  button: HTMLButtonElement,
  on: Parameters<typeof icon>[0],
  off: Parameters<typeof icon>[0],
  label: string,
  isOn: boolean,
  isBusy = false,
): void {
  fill(button, icon(isOn ? on : off), h("span", {}, isOn ? label : `${label} off`));
  button.classList.toggle("is-off", !isOn);
  button.setAttribute("aria-pressed", String(isOn));
  const spoken = label === "Mic" ? "Microphone" : label;
  button.setAttribute("aria-label", `${spoken} is ${isOn ? "on" : "off"}, switch it ${isOn ? "off" : "on"}`);
  button.disabled = isBusy;
}
