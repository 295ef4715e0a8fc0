/** The operator's page: devices, rooms and sessions with what is wrong, kept up to date by asking. */

import type { DeviceState, RoomState, SessionState } from "./api";
import { ask, Trouble } from "./api";
import { alsoShownAt, peopleOf } from "./choice";
import { act, fill, h, icon, say, show } from "./dom";
import { Notices, type Shown } from "./notices";
import { dropToken, keepToken, takeToken } from "./token";
import { ago, deviceWords, duration, troubleNotice } from "./words";

const EVERY_MS = 2000;

interface Status {
  version?: string;
  ready?: boolean;
  up_s?: number;
}

/** Undefined: this token may not see it. */
interface Known {
  status?: Status | undefined;
  devices?: DeviceState[] | undefined;
  rooms?: RoomState[] | undefined;
  sessions?: SessionState[] | undefined;
}

class OperatorPage {
  private token = takeToken();
  private known: Known = {};
  private trouble: Trouble | null = null;
  private failed: unknown = null;
  private done = "";
  private at = 0;
  private readonly notices = new Notices();
  private readonly subtitle = h("span", { class: "count" });
  private readonly devices = h("section", { "aria-label": "Devices", hidden: true });
  private readonly rooms = h("section", { "aria-label": "Rooms", hidden: true });
  private readonly sessions = h("section", { "aria-label": "Sessions", hidden: true });
  private readonly form: HTMLFormElement;

  constructor() {
    const input = h("input", { id: "token", type: "password", autocomplete: "off", required: true });
    this.form = h(
      "form",
      {
        class: "token-form",
        hidden: true,
        onsubmit: (event) => {
          event.preventDefault();
          this.useToken(input.value.trim());
        },
      },
      h("label", { for: "token" }, "Access token"),
      input,
      h("button", { type: "submit", class: "primary" }, "Enter"),
    );
    document.body.append(
      h("header", { class: "bar" }, h("div", { class: "titles" }, h("h1", {}, "orbridge"), this.subtitle)),
      this.notices.root,
      this.form,
      h("main", {}, this.devices, this.rooms, this.sessions),
    );
    act(document.body, (what, of) => this.act(what, of));
    void this.run();
  }

  private async run(): Promise<void> {
    for (;;) {
      if (document.visibilityState === "visible") await this.refresh();
      await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    }
  }

  private async refresh(): Promise<void> {
    try {
      const rooms = await this.get<RoomState[]>("/rooms");
      const [status, devices, sessions] = await Promise.all([
        this.get<Status>("/status"),
        this.get<DeviceState[]>("/devices"),
        this.get<SessionState[]>("/sessions"),
      ]);
      this.known = { status, devices, rooms, sessions };
      this.trouble = null;
      this.at = Date.now();
    } catch (error) {
      if (!(error instanceof Trouble)) throw error;
      this.trouble = error;
      if (error.isFinal) this.known = {};
    }
    this.render();
  }

  /** Undefined when the token isn't allowed this part. */
  private async get<T>(path: string): Promise<T | undefined> {
    try {
      return await ask<T>("GET", path, this.token);
    } catch (error) {
      if (error instanceof Trouble && error.status === 403) return undefined;
      throw error;
    }
  }

  private useToken(token: string): void {
    if (token) keepToken(token);
    else dropToken();
    this.token = token || null;
    void this.refresh();
  }

  private async attempt(done: string, work: () => Promise<unknown>): Promise<void> {
    try {
      this.failed = null;
      this.done = "";
      await work();
      this.done = done;
    } catch (error) {
      this.failed = error;
    }
    await this.refresh();
  }

  private render(): void {
    const { status, devices, rooms, sessions } = this.known;
    show(this.form, this.trouble?.status === 401);
    say(this.subtitle, this.headline(status));
    this.notices.show(this.whatIsWrong());
    this.section(this.devices, "Devices", devices, (device) => this.device(device), "No device is configured.");
    this.section(this.rooms, "Rooms", rooms, (room) => this.room(room), "No room is open.");
    this.section(this.sessions, "Sessions", sessions, (session) => this.session(session), "Nobody is connected.");
  }

  private headline(status: Status | undefined): string {
    if (!status) return "";
    const ready = status.ready ? "ready" : "not ready";
    return `${ready}, version ${status.version ?? "?"}, up ${duration(status.up_s ?? 0)}`;
  }

  private whatIsWrong(): Shown[] {
    const shown: Shown[] = [];
    const { status, devices, rooms } = this.known;
    if (this.trouble) {
      const stale = this.at && !this.trouble.isFinal ? ` What you see is from ${ago((Date.now() - this.at) / 1000)}.` : "";
      const notice = troubleNotice(this.trouble);
      shown.push({ key: "gateway", ...notice, text: notice.text + stale });
    }
    if (status && status.ready === false) {
      const text = "It is starting or stopping and takes no calls.";
      shown.push({ key: "ready", severity: "warning", title: "The gateway is not ready.", text });
    }
    if (rooms && !devices) {
      const text = "Your access link shows rooms only; devices and sessions need the right to operate.";
      shown.push({ key: "rights", severity: "info", title: "", text });
    }
    const close = (): void => {
      this.failed = null;
      this.done = "";
      this.render();
    };
    if (this.failed) shown.push({ key: "failed", ...troubleNotice(this.failed), close });
    if (this.done) shown.push({ key: "done", severity: "info", title: this.done, text: "", close });
    return shown;
  }

  private section<T>(
    root: HTMLElement,
    title: string,
    entries: T[] | undefined,
    entry: (one: T) => HTMLElement,
    none: string,
  ): void {
    show(root, entries !== undefined);
    if (!entries) return;
    fill(root, h("h2", {}, title), ...entries.map(entry), entries.length === 0 && h("p", { class: "quiet" }, none));
  }

  private device(device: DeviceState): HTMLElement {
    const tone = { connected: "good", connecting: "fair", registered: "fair", failed: "poor", unknown: "" }[device.state];
    const note = device.state === "connected" && device.reason ? `: ${device.reason}` : "";
    return entry(
      device.reason && device.state === "connected" ? "fair" : tone,
      [h("strong", {}, device.name), h("div", { class: "quiet" }, [device.adapter, device.room].filter(Boolean).join(", room "))],
      deviceWords(device) + note,
      [
        device.session === null && device.room !== "" && device.adapter === "sip"
          ? button("call", `Call ${device.name}`, "Call", "small", "call", device.name)
          : null,
        device.session !== null ? hangupButton(device.session, device.name) : null,
      ],
    );
  }

  private room(room: RoomState): HTMLElement {
    const members = peopleOf(room);
    const people = members.map((one) => {
      const facts = [one.speaking ? "speaks" : "", one.state === "held" ? "on hold" : "", one.video ? "" : "sound only"];
      const said = facts.filter(Boolean).join(", ");
      return said ? `${one.name} (${said})` : one.name;
    });
    const title = room.title !== room.name ? `${room.title} (${room.name})` : room.name;
    return entry(
      members.length ? "good" : "",
      [h("strong", {}, title), h("div", { class: "quiet" }, `${members.length} of ${room.max_participants}`)],
      [people.join(", ") || "empty", alsoShownAt(room)].filter(Boolean).join(". "),
      [h("a", { class: "button", href: `/rooms/${encodeURIComponent(room.name)}` }, "Open")],
    );
  }

  private session(session: SessionState): HTMLElement {
    const what = [
      `${session.state} for ${duration(session.up_s)}`,
      session.plays ? `${session.inbound ? "watches" : "carries"} ${session.plays}` : `in room ${session.room}`,
      session.inbound ? "called in" : "called by us",
      session.remote,
      ...session.notes.map((note) => note.text),
    ];
    const tone = session.notes.length || session.state !== "active" ? "fair" : "good";
    return entry(
      tone,
      [h("strong", {}, session.name), h("div", { class: "quiet" }, session.id)],
      what.filter(Boolean).join(" · "),
      [hangupButton(session.id, session.name)],
    );
  }

  private act(what: string, of: string): void {
    if (what === "call") {
      const room = this.known.devices?.find((device) => device.name === of)?.room ?? "";
      void this.attempt(`${of} is being called.`, () => ask("POST", "/calls", this.token, { target: of, room }));
    } else {
      const name = this.known.sessions?.find((session) => session.id === of)?.name ?? of;
      const path = `/sessions/${encodeURIComponent(of)}`;
      void this.attempt(`The connection of ${name} was ended.`, () => ask("DELETE", path, this.token));
    }
  }
}

const hangupButton = (session: string, name: string): HTMLElement =>
  button("leave", `End the connection of ${name}`, "End", "small danger", "hangup", session);

function entry(tone: string, about: Node[], what: string, actions: (Node | null)[]): HTMLElement {
  return h(
    "div",
    { class: `entry ${tone}` },
    h("span", { class: "light", "aria-hidden": "true" }),
    h("div", { class: "about" }, ...about),
    h("div", { class: "what" }, what),
    h("div", { class: "actions" }, ...actions),
  );
}

function button(
  name: Parameters<typeof icon>[0],
  label: string,
  text: string,
  kind: string,
  what: string,
  of: string,
): HTMLElement {
  return h("button", { type: "button", class: kind, "aria-label": label, "data-act": what, "data-of": of }, icon(name), text);
}

new OperatorPage();
