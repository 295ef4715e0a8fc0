/** The big picture and the thumbnails. Shows what it is given; decides nothing. */

import type { Tile } from "./choice";
import { act, fill, h, icon, say, show } from "./dom";

export interface TileLook {
  key: string;
  name: string;
  /** Beside the name: what is special, or why there is no picture. */
  hint: string;
  track: MediaStreamTrack | null;
  /** The track carries a picture at the moment. */
  hasPicture: boolean;
  isBig: boolean;
  isSpeaking: boolean;
  /** Our own picture is shown as in a mirror. */
  isMirrored: boolean;
  /** Clicking makes it big; null for our own. */
  tile: Tile | null;
}

/** What stands in the big place when nobody is there to be shown. */
export interface Empty {
  title: string;
  text: string;
  action?: { label: string; run: () => void } | undefined;
}

/** Shows a track in an element; does nothing when it is there already. */
export function attach(element: HTMLVideoElement, track: MediaStreamTrack | null): void {
  const known = element.dataset["track"] ?? "";
  const wanted = track?.id ?? "";
  if (known === wanted) return;
  element.dataset["track"] = wanted;
  element.srcObject = track ? new MediaStream([track]) : null;
  if (track) void element.play().catch(() => undefined);
}

const picture = (): HTMLVideoElement => {
  const element = h("video", { autoplay: true, playsinline: true, "aria-hidden": "true", tabindex: -1 });
  // As a property: the attribute alone doesn't mute an element made by script.
  element.muted = true;
  return element;
};

const initials = (name: string): string =>
  name
    .split(/[\s-]+/)
    .map((word) => word.charAt(0))
    .join("")
    .slice(0, 2)
    .toUpperCase();

class Face {
  readonly video = picture();
  readonly avatar = h("span", { class: "avatar", "aria-hidden": "true" });
  readonly name = h("span", { class: "name" });
  readonly hint = h("span", { class: "hint" });
  readonly label = h("span", { class: "label" }, this.name, this.hint);

  show(look: TileLook): void {
    attach(this.video, look.track);
    this.video.classList.toggle("mirrored", look.isMirrored);
    this.video.classList.toggle("blank", !look.hasPicture);
    say(this.avatar, initials(look.name));
    show(this.avatar, !look.hasPicture);
    say(this.name, look.name);
    say(this.hint, look.hint);
    show(this.hint, look.hint !== "");
  }
}

class Thumbnail {
  private readonly face = new Face();
  private tile: Tile | null = null;
  private readonly button: HTMLButtonElement;
  readonly root: HTMLLIElement;

  constructor(chosen: (tile: Tile) => void) {
    this.button = h(
      "button",
      { type: "button", class: "tile", onclick: () => this.tile && chosen(this.tile) },
      this.face.video,
      this.face.avatar,
      this.face.label,
    );
    this.root = h("li", {}, this.button);
  }

  show(look: TileLook): void {
    this.tile = look.tile;
    this.face.show(look);
    this.button.disabled = look.tile === null;
    this.button.classList.toggle("speaking", look.isSpeaking);
    this.button.classList.toggle("big-one", look.isBig);
    this.button.setAttribute("aria-pressed", String(look.isBig));
    const parts = [look.name, look.hint, look.isSpeaking ? "speaks" : "", look.tile ? "show big" : ""];
    this.button.setAttribute("aria-label", parts.filter(Boolean).join(", "));
  }
}

export class Stage {
  private readonly face = new Face();
  private readonly thumbnails = new Map<string, Thumbnail>();
  private readonly strip = h("ul", { class: "strip", "aria-label": "Participants" });
  private readonly big: HTMLElement;
  private readonly empty = h("div", { class: "empty", hidden: true });
  private run: (() => void) | null = null;
  private readonly followButton: HTMLButtonElement;
  private readonly fullButton: HTMLButtonElement;
  readonly root: HTMLElement;

  constructor(private readonly how: { chosen: (tile: Tile) => void; follow: () => void }) {
    this.followButton = h(
      "button",
      { type: "button", class: "chip follow", hidden: true, onclick: () => how.follow() },
      icon("follow"),
      "Follow the speaker",
    );
    this.fullButton = h("button", { type: "button", class: "round full", onclick: () => void this.toggleFull() });
    this.big = h(
      "section",
      { class: "big", "aria-label": "Big picture", ondblclick: () => void this.toggleFull() },
      this.face.video,
      this.face.avatar,
      this.empty,
      this.face.label,
      this.followButton,
      this.fullButton,
    );
    this.root = h("main", { class: "stage" }, this.big, this.strip);
    act(this.empty, () => this.run?.());
    document.addEventListener("fullscreenchange", () => this.showFull());
    this.showFull();
  }

  show(big: TileLook | null, small: readonly TileLook[], isPicked: boolean, empty: Empty | null): void {
    show(this.face.label, big !== null);
    show(this.face.video, big !== null);
    if (big) this.face.show(big);
    else {
      attach(this.face.video, null);
      show(this.face.avatar, false);
    }
    this.big.classList.toggle("speaking", big?.isSpeaking ?? false);
    show(this.empty, big === null && empty !== null);
    this.big.classList.toggle("is-empty", big === null);
    if (empty) this.showEmpty(empty);
    show(this.followButton, isPicked);
    show(this.fullButton, big !== null && typeof this.big.requestFullscreen === "function");
    this.showStrip(small);
  }

  private showStrip(looks: readonly TileLook[]): void {
    const wanted = new Set(looks.map((look) => look.key));
    for (const [key, thumbnail] of this.thumbnails) {
      if (wanted.has(key)) continue;
      thumbnail.root.remove();
      this.thumbnails.delete(key);
    }
    looks.forEach((look, at) => {
      let thumbnail = this.thumbnails.get(look.key);
      if (!thumbnail) {
        thumbnail = new Thumbnail(this.how.chosen);
        this.thumbnails.set(look.key, thumbnail);
      }
      thumbnail.show(look);
      if (this.strip.children[at] !== thumbnail.root) this.strip.insertBefore(thumbnail.root, this.strip.children[at] ?? null);
    });
    show(this.strip, looks.length > 0);
    this.root.classList.toggle("alone", looks.length === 0);
  }

  private showEmpty(empty: Empty): void {
    const { action } = empty;
    this.run = action?.run ?? null;
    fill(
      this.empty,
      h("h2", {}, empty.title),
      h("p", {}, empty.text),
      action && h("button", { type: "button", class: "primary", "data-act": "empty" }, action.label),
    );
  }

  private async toggleFull(): Promise<void> {
    try {
      if (document.fullscreenElement) await document.exitFullscreen();
      else await this.big.requestFullscreen();
    } catch (error) {
      console.info("full screen was refused", error);
    }
  }

  private showFull(): void {
    const is = document.fullscreenElement === this.big;
    fill(this.fullButton, icon(is ? "notFull" : "full"));
    this.fullButton.setAttribute("aria-label", is ? "Leave full screen" : "Full screen");
  }
}
