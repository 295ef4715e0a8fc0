/** The list of who is here, and for operators: what the theatre is shown, calling and hanging up. */

import type { DeviceState, ParticipantState, RoomState } from "./api";
import { alsoShownAt, peopleOf } from "./choice";
import { act, fill, h, icon } from "./dom";
import { deviceWords } from "./words";

export interface PeopleHow {
  pin: (device: string, participant: string | null) => void;
  call: (device: string) => void;
  hangup: (session: string) => void;
  close: () => void;
}

export interface PeopleLook {
  room: RoomState;
  me: string | null;
  sees: Record<string, string | null>;
  mayOperate: boolean;
}

export class People {
  readonly root = h("aside", { class: "people", hidden: true, "aria-label": "Who is here" });
  private readonly body = h("div", { class: "people-body" });
  private shown = "";

  constructor(how: PeopleHow) {
    this.root.append(
      h(
        "header",
        {},
        h("h2", {}, "Who is here"),
        h("button", { type: "button", class: "round", "aria-label": "Close", onclick: how.close }, icon("close")),
      ),
      this.body,
    );
    act(this.body, (what, of) => (what === "call" ? how.call(of) : how.hangup(of)));
    this.body.addEventListener("change", (event) => {
      const { target } = event;
      if (target instanceof HTMLSelectElement) how.pin(target.dataset["of"] ?? "", target.value || null);
    });
  }

  show(look: PeopleLook): void {
    const now = JSON.stringify([look, Math.floor(Date.now() / 30_000)]);
    if (this.root.hidden || now === this.shown) return;
    this.shown = now;
    const { room } = look;
    const people = peopleOf(room);
    const outputs = alsoShownAt(room);
    const missing = room.devices.filter((device) => device.state !== "connected" && !isIn(room, device));
    fill(
      this.body,
      h("ul", { class: "rows" }, ...people.map((one) => this.participant(one, look))),
      people.length === 0 && h("p", { class: "quiet" }, "Nobody."),
      outputs && h("p", { class: "quiet" }, outputs),
      missing.length > 0 && h("h3", {}, "Not here"),
      h("ul", { class: "rows" }, ...missing.map((device) => this.device(device, look))),
    );
  }

  private participant(one: ParticipantState, look: PeopleLook): HTMLElement {
    const facts = [
      one.kind === "device" ? "device" : "",
      one.id === look.me ? "you" : "",
      one.state === "held" ? "on hold" : one.state === "active" ? "" : one.state,
      one.id === look.room.speaker ? "speaks" : "",
    ].filter(Boolean);
    return h(
      "li",
      {},
      h("div", { class: "who" }, h("strong", {}, one.name), " ", h("span", { class: "quiet" }, facts.join(", "))),
      ...one.notes.map((note) => h("p", { class: "note" }, note.text)),
      one.kind === "device" && this.shownTo(one, look),
      look.mayOperate &&
        one.id !== look.me &&
        h("button", { type: "button", class: "small danger", "data-act": "hangup", "data-of": one.id }, "End connection"),
    );
  }

  /** What a device is shown, and the choice of it. */
  private shownTo(device: ParticipantState, look: PeopleLook): HTMLElement {
    const others = peopleOf(look.room).filter((one) => one.id !== device.id);
    const seen = others.find((one) => one.id === look.sees[device.id]);
    const pinned = look.room.pins[device.name] ?? "";
    if (!look.mayOperate) {
      return h("p", { class: "quiet" }, seen ? `is shown ${seen.name}` : "is shown nobody at the moment");
    }
    const id = `pin-${device.id}`;
    const select = h("select", { id, "data-of": device.name });
    const automatic = `Whoever speaks${!pinned && seen ? ` (now ${seen.name})` : ""}`;
    select.append(h("option", { value: "" }, automatic));
    for (const one of others) select.append(h("option", { value: one.name }, one.name));
    select.value = pinned;
    return h("div", { class: "pin" }, h("label", { for: id }, "is shown"), select);
  }

  private device(device: DeviceState, look: PeopleLook): HTMLElement {
    return h(
      "li",
      {},
      h("div", { class: "who" }, h("strong", {}, device.name), " ", h("span", { class: "quiet" }, deviceWords(device))),
      look.mayOperate &&
        device.session === null &&
        h("button", { type: "button", class: "small", "data-act": "call", "data-of": device.name }, icon("call"), `Call ${device.name}`),
    );
  }
}

export const isIn = (room: RoomState, device: DeviceState): boolean =>
  room.participants.some((one) => one.id === device.session || (one.kind === "device" && one.name === device.name));
