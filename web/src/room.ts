/** The room's page: puts the parts together and keeps what they show up to date. */

import type { Hello, LimitState, RoomEvent, RoomState, StreamState } from "./api";
import { ask, Trouble } from "./api";
import { keepAwake } from "./awake";
import { bigOf, peopleOf, type Tile, tilesOf } from "./choice";
import { fill, h, icon, say, show } from "./dom";
import { RoomEvents } from "./events";
import { type Health, isUnseen, judge, trackOf } from "./health";
import { showHealth } from "./health_pill";
import { JoinDialog, setToggle, toggleButton } from "./join";
import { Notices, type Shown } from "./notices";
import { OwnMedia } from "./own";
import { isIn, People } from "./people";
import { hasH264, Player } from "./player";
import { Publisher } from "./publisher";
import { Sound } from "./sound";
import { type Empty, Stage, type TileLook } from "./stage";
import { dropToken, keepToken, takeToken } from "./token";
import { tokenForm } from "./token_form";
import { deviceWords, noH264, noWebRtc, troubleNotice } from "./words";

const MEASURE_MS = 1000;

class RoomPage {
  private token = takeToken();
  private readonly name = decodeURIComponent(location.pathname.split("/")[2] ?? "");
  private hello: Hello | null = null;
  private room: RoomState | null = null;
  private streams = new Map<string, StreamState>();
  private sees: Record<string, string | null> = {};
  private limit: LimitState | null = null;
  private trouble: Trouble | null = null;
  /** Our own participant id while we are in. */
  private me: string | null = null;
  private picked: string | null = null;
  private bigKey: string | null = null;
  private seen = new Set<string>();
  private failed: unknown = null;
  private readonly players = new Map<string, Player>();
  private publisher: Publisher | null = null;
  private isScheduled = false;

  private readonly own = new OwnMedia(() => this.ownChanged());
  private readonly sound: Sound;
  private readonly notices = new Notices();
  private readonly stage = new Stage({
    chosen: (tile) => this.pick(tile),
    follow: () => this.pick(null),
  });
  private readonly join = new JoinDialog({
    own: this.own,
    join: (name) => this.publish(name),
    cancelled: () => this.own.close(),
  });
  private readonly people = new People({
    pin: (device, participant) =>
      this.attempt(() => ask("PUT", `/rooms/${encodeURIComponent(this.name)}/pin`, this.token, { device, participant })),
    call: (device) => this.attempt(() => ask("POST", "/calls", this.token, { target: device, room: this.name })),
    hangup: (session) => this.attempt(() => ask("DELETE", `/sessions/${encodeURIComponent(session)}`, this.token)),
    close: () => this.togglePeople(),
  });
  private readonly title = h("h1", {}, this.name);
  private readonly count = h("span", { class: "count" });
  private readonly health = h("div", { class: "health off", role: "group", "aria-label": "Picture of the operating room" });
  private readonly joinButton = h("button", { type: "button", class: "control primary", onclick: () => this.openJoin() });
  private readonly micButton = toggleButton(() => void this.own.turn("audio", !this.own.isOn("audio")));
  private readonly cameraButton = toggleButton(() => void this.own.turn("video", !this.own.isOn("video")));
  private readonly leaveButton = h("button", { type: "button", class: "control danger", onclick: () => this.leave() });
  private readonly soundButton = toggleButton(() => this.sound.mute(!this.sound.isMuted));
  private readonly peopleButton = toggleButton(() => this.togglePeople());
  private readonly events: RoomEvents;

  constructor() {
    const audio = h("div", { class: "audio", hidden: true });
    this.sound = new Sound(audio, () => this.schedule());
    fill(this.joinButton, icon("camera"), h("span", {}, "Join"));
    fill(this.leaveButton, icon("leave"), h("span", {}, "Leave"));
    document.body.append(
      h("header", { class: "bar" }, h("div", { class: "titles" }, this.title, this.count), this.health),
      this.notices.root,
      this.stage.root,
      h(
        "footer",
        { class: "controls", role: "toolbar", "aria-label": "Controls" },
        this.joinButton,
        this.micButton,
        this.cameraButton,
        this.leaveButton,
        this.soundButton,
        this.peopleButton,
      ),
      this.people.root,
      this.join.root,
      audio,
    );
    this.events = new RoomEvents({
      room: this.name,
      token: () => this.token,
      hello: (hello) => this.greet(hello),
      event: (event) => this.take(event),
      state: (trouble) => {
        this.trouble = trouble;
        this.schedule();
      },
    });
    setInterval(() => void this.measure(), MEASURE_MS);
    keepAwake(() => this.players.size > 0);
    window.addEventListener("pagehide", () => this.away());
    document.addEventListener("keydown", (event) => this.key(event));
    this.render();
  }

  // what the gateway says

  private greet(hello: Hello): void {
    const isNew = this.hello !== null && this.hello.instance !== hello.instance;
    this.hello = hello;
    this.limit = hello.limit;
    this.room = hello.room;
    if (isNew) {
      // The gateway was started anew: no session of ours is left there.
      for (const player of this.players.values()) player.renew();
      this.publisher?.renew();
    }
    this.tellWhoWeAre();
    this.schedule();
  }

  private take(event: Exclude<RoomEvent, Hello>): void {
    switch (event.type) {
      case "room":
        this.room = event.room;
        break;
      case "speaker":
        if (this.room) this.room = { ...this.room, speaker: event.participant };
        break;
      case "stats":
        this.streams = new Map(event.streams.map((stream) => [stream.name, stream]));
        this.sees = event.sees;
        break;
      case "limit":
        this.limit = event.limit;
        void this.publisher?.respectLimit();
        break;
    }
    this.schedule();
  }

  private tellWhoWeAre(): void {
    if (this.me !== null) this.events.send({ type: "publishing", session: this.me });
  }

  // what the person does

  private pick(tile: Tile | null): void {
    this.picked = tile ? tile.pick : null;
    this.schedule();
  }

  private openJoin(): void {
    this.failed = null;
    this.join.open(this.hello?.you.name === "this machine" ? "" : (this.hello?.you.name ?? ""));
    void this.own.open();
  }

  private publish(name: string): void {
    this.publisher?.close();
    this.publisher = new Publisher({
      room: this.name,
      name,
      own: this.own,
      token: () => this.token,
      iceServers: () => this.iceServers(),
      limit: () => this.limit,
      changed: () => this.schedule(),
      became: (session) => {
        const was = this.me;
        this.me = session;
        if (session !== null) this.tellWhoWeAre();
        else if (was !== null) this.events.send({ type: "publishing", session: null });
        this.schedule();
      },
    });
    this.schedule();
  }

  private leave(): void {
    this.publisher?.close();
    this.publisher = null;
    this.own.close();
    this.schedule();
  }

  private togglePeople(): void {
    this.people.root.hidden = !this.people.root.hidden;
    this.schedule();
  }

  private key(event: KeyboardEvent): void {
    if (event.key === "Escape" && !this.people.root.hidden) this.togglePeople();
  }

  private async attempt(work: () => Promise<unknown>): Promise<void> {
    try {
      this.failed = null;
      await work();
    } catch (error) {
      this.failed = error;
    }
    this.schedule();
  }

  private useToken(token: string): void {
    if (token) keepToken(token);
    else dropToken();
    this.token = token || null;
    this.trouble = null;
    this.events.retry();
    this.schedule();
  }

  /** The page is being closed: say so, that nobody waits for us. */
  private away(): void {
    this.publisher?.close();
    this.publisher = null;
    for (const player of this.players.values()) player.close();
    this.players.clear();
  }

  private ownChanged(): void {
    void this.publisher?.tracksChanged();
    this.join.show();
    this.schedule();
  }

  // keeping up

  private iceServers(): RTCIceServer[] {
    return (this.hello?.ice_servers ?? []).map(({ urls, username, credential }) =>
      username ? { urls, username, credential } : { urls },
    );
  }

  private async measure(): Promise<void> {
    const readings = [...this.players].map(([stream, player]) => {
      const tracks = this.streams.get(stream)?.tracks ?? [];
      return player.measure(this.trouble === null && tracks.some((track) => track.bitrate_bps > 0));
    });
    await Promise.all(readings);
    this.schedule();
  }

  private schedule(): void {
    if (this.isScheduled) return;
    this.isScheduled = true;
    queueMicrotask(() => {
      this.isScheduled = false;
      this.render();
    });
  }

  /** One player a remote stream, as the roster says. */
  private play(tiles: readonly Tile[]): void {
    if (typeof RTCPeerConnection === "undefined") return;
    const wanted = new Set(tiles.map((tile) => tile.stream).filter((stream) => stream !== null));
    for (const [stream, player] of this.players) {
      if (wanted.has(stream)) continue;
      player.close();
      this.players.delete(stream);
    }
    for (const stream of wanted) {
      if (this.players.has(stream)) continue;
      this.players.set(
        stream,
        new Player({
          stream,
          token: () => this.token,
          iceServers: () => this.iceServers(),
          changed: () => this.schedule(),
        }),
      );
    }
    this.sound.set(new Map([...this.players].map(([stream, player]) => [stream, player.media])));
  }

  private render(): void {
    const { room } = this;
    const tiles = room ? this.others(tilesOf(room, this.me)) : [];
    this.play(tiles);
    const big = bigOf(tiles, { picked: this.picked, speaker: room?.speaker ?? null, current: this.bigKey });
    this.bigKey = big?.key ?? null;
    const looks = tiles.map((tile) => this.look(tile, tile.key === big?.key));
    const own = this.ownLook();
    const isPicked = this.picked !== null && big?.pick === this.picked && tiles.length > 1;
    this.stage.show(
      looks.find((look) => look.isBig) ?? null,
      // A single other needs no thumbnail of what is big already.
      [...(looks.length > 1 ? looks : []), ...(own ? [own] : [])],
      isPicked,
      this.empty(),
    );
    this.renderBar(tiles, big);
    this.renderControls();
    this.notices.show(this.whatIsWrong());
    if (room) {
      this.people.show({ room, me: this.me, sees: this.sees, mayOperate: this.may("operate") });
    }
  }

  /** Without ourselves: while we enter, one who just came may be us. */
  private others(tiles: Tile[]): Tile[] {
    if (this.publisher?.isEntering) return tiles.filter((tile) => this.seen.has(tile.key));
    this.seen = new Set(tiles.map((tile) => tile.key));
    return tiles;
  }

  private may(right: "publish" | "operate"): boolean {
    return this.hello?.you.may.includes(right) ?? false;
  }

  private look(tile: Tile, isBig: boolean): TileLook {
    const player = tile.stream !== null ? this.players.get(tile.stream) : undefined;
    const known = tile.stream !== null ? this.streams.get(tile.stream) : undefined;
    const track = player?.media.getVideoTracks()[0] ?? null;
    const video = trackOf(known, "video");
    const isSent = video !== undefined ? video.bitrate_bps > 0 : tile.participant.video;
    const hasPicture = player?.state === "live" && track !== null && !track.muted && isSent;
    return {
      key: tile.key,
      name: tile.role === "content" ? `${tile.participant.name}: shared picture` : tile.participant.name,
      hint: hasPicture ? "" : this.hint(tile, player, isSent),
      track,
      hasPicture,
      isBig,
      isSpeaking: tile.participant.id === this.room?.speaker || tile.participant.speaking,
      isMirrored: false,
      tile,
    };
  }

  /** Why there is no picture. */
  private hint(tile: Tile, player: Player | undefined, isSent: boolean): string {
    const { participant } = tile;
    if (participant.state === "held") return "on hold";
    if (participant.state !== "active") return "being connected…";
    if (tile.stream === null) return "sends nothing";
    if (player?.problem instanceof Trouble) return troubleNotice(player.problem).title;
    if (!isSent) return participant.kind === "device" ? (participant.notes[0]?.text ?? "sends no picture") : "camera is off";
    if (player?.state !== "live") return "connecting…";
    return isUnseen(participant) ? "its picture can't be shown here" : "waiting for the picture…";
  }

  private ownLook(): TileLook | null {
    if (!this.publisher) return null;
    const name = this.room?.participants.find((one) => one.id === this.me)?.name;
    const isIn = this.publisher.state === "live";
    return {
      key: "own",
      name: name ? `You (${name})` : "You",
      hint: isIn ? (this.own.isOn("video") ? "" : "camera is off") : "connecting…",
      track: this.own.track("video"),
      hasPicture: this.own.isOn("video"),
      isBig: false,
      isSpeaking: this.room?.speaker === this.me && this.me !== null,
      isMirrored: true,
      tile: null,
    };
  }

  private empty(): Empty | null {
    const { room } = this;
    if (this.trouble?.isFinal) return null;
    if (!room) return { title: "Connecting…", text: "" };
    const device = room.devices[0];
    if (device) {
      const call = { label: `Call ${device.name}`, run: () => void this.call(device.name) };
      const isIdle = device.session === null;
      return {
        title: isIdle ? `${device.name} isn't here` : `${device.name} is being connected`,
        text: isIdle ? `It is ${deviceWords(device)}.` : "The picture comes in a moment.",
        action: this.may("operate") && isIdle ? call : undefined,
      };
    }
    return { title: "Nobody else is here yet", text: "Who comes in appears here by itself." };
  }

  private async call(device: string): Promise<void> {
    await this.attempt(() => ask("POST", "/calls", this.token, { target: device, room: this.name }));
  }

  private renderBar(tiles: readonly Tile[], big: Tile | null): void {
    const { room } = this;
    const title = room?.title || this.name;
    say(this.title, title);
    document.title = title;
    const here = room ? peopleOf(room).length : 0;
    say(this.count, room ? (here === 1 ? "1 is here" : here ? `${here} are here` : "nobody is here") : "");
    const device = big?.participant.kind === "device" ? big : tiles.find((tile) => tile.participant.kind === "device");
    this.renderHealth(device ?? null);
  }

  private renderHealth(tile: Tile | null): void {
    show(this.health, tile !== null);
    if (!tile) return;
    const { name, state } = tile.participant;
    const player = tile.stream !== null ? this.players.get(tile.stream) : undefined;
    const stream = tile.stream !== null ? this.streams.get(tile.stream) : undefined;
    let health: Health;
    if (this.trouble) health = { tone: "off", words: "No connection", figures: [], detail: this.trouble.what };
    else if (state === "held") health = { tone: "fair", words: "On hold", figures: [], detail: `${name} is on hold` };
    else if (!this.streams.size) health = { tone: "off", words: "Looking…", figures: [], detail: "" };
    else if (isUnseen(tile.participant) && !player?.reception?.width) {
      health = { tone: "poor", words: "No picture", figures: [], detail: `${name}'s picture can't be shown here` };
    } else health = judge(name, stream, player?.reception ?? null, player?.state === "live");
    showHealth(this.health, health);
  }

  private renderControls(): void {
    const isIn = this.publisher !== null;
    show(this.joinButton, this.may("publish") && !isIn && !this.trouble?.isFinal);
    for (const button of [this.micButton, this.cameraButton, this.leaveButton]) show(button, isIn);
    setToggle(this.micButton, "mic", "micOff", "Mic", this.own.isOn("audio"), this.own.isBusy("audio"));
    setToggle(this.cameraButton, "camera", "cameraOff", "Camera", this.own.isOn("video"), this.own.isBusy("video"));
    setToggle(this.soundButton, "sound", "soundOff", "Sound", !this.sound.isMuted);
    const isOpen = !this.people.root.hidden;
    fill(this.peopleButton, icon("people"), h("span", {}, "People"));
    this.peopleButton.setAttribute("aria-expanded", String(isOpen));
    this.peopleButton.setAttribute("aria-label", isOpen ? "Hide who is here" : "Show who is here");
    show(this.peopleButton, this.room !== null);
    show(this.soundButton, this.room !== null);
  }

  private whatIsWrong(): Shown[] {
    const shown: Shown[] = [];
    if (this.trouble) {
      const action = this.trouble.isFinal ? undefined : { label: "Try now", run: () => this.events.retry() };
      shown.push({ key: "gateway", ...troubleNotice(this.trouble), action });
    }
    document.body.classList.toggle("needs-token", this.trouble?.status === 401);
    tokenForm.show(this.trouble?.status === 401, (token) => this.useToken(token));
    if (typeof RTCPeerConnection === "undefined") shown.push({ key: "webrtc", ...noWebRtc() });
    else if (!hasH264()) shown.push({ key: "h264", ...noH264() });
    if (this.sound.isBlocked) {
      shown.push({
        key: "sound",
        severity: "info",
        title: "The browser waits for a tap before it plays sound.",
        text: "",
        action: { label: "Tap for sound", run: () => void this.sound.unblock() },
      });
    }
    if (this.publisher?.problem && !this.trouble) {
      const notice = troubleNotice(this.publisher.problem);
      const leave = { label: "Stop trying", run: () => this.leave() };
      shown.push({ key: "publishing", ...notice, title: `You are not in: ${notice.title}`, action: leave });
    }
    if (!this.join.isOpen && this.publisher) {
      for (const kind of ["audio", "video"] as const) {
        const notice = this.own.notices[kind];
        const close = (): void => {
          delete this.own.notices[kind];
          this.schedule();
        };
        if (notice) shown.push({ key: `own-${kind}`, ...notice, close });
      }
    }
    if (this.failed) {
      const close = (): void => {
        this.failed = null;
        this.schedule();
      };
      shown.push({ key: "failed", ...troubleNotice(this.failed), close });
    }
    return [...shown, ...this.aboutDevices()];
  }

  /** Devices that aren't here while others are, and those of which something is to be known. */
  private aboutDevices(): Shown[] {
    const { room } = this;
    if (!room || this.trouble) return [];
    const shown: Shown[] = [];
    const others = peopleOf(room).filter((one) => one.id !== this.me);
    for (const device of room.devices) {
      if (isIn(room, device) || others.length === 0) continue;
      shown.push({ key: `away-${device.name}`, severity: "warning", title: `${device.name} isn't here:`, text: deviceWords(device) });
    }
    for (const one of room.participants) {
      if (one.kind !== "device") continue;
      for (const note of one.notes) {
        shown.push({ key: `note-${one.id}-${note.code}`, severity: "info", title: `${one.name}:`, text: note.text });
      }
    }
    return shown;
  }
}

new RoomPage();
