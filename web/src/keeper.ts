/** Keeps one WHIP or WHEP session alive: opens it, restarts ICE after a break, opens a new one with growing pauses. */

import { Trouble } from "./api";
import { Backoff, Pause } from "./backoff";
import { Link } from "./link";

export type KeeperState = "connecting" | "live" | "waiting" | "closed";

const CONNECT_MS = 8_000;
/** A short break heals by itself; after this one a new way is looked for. */
const BREAK_MS = 2_500;
/** A session that stood this long counts as good: the next break begins with a short pause again. */
const GOOD_MS = 5_000;

export interface KeeperHow {
  open: () => Promise<Link>;
  /** State, problem or link changed. */
  changed: () => void;
  /** Called with every new link before it is known to connect. */
  opened?: (link: Link) => void;
}

export class Keeper {
  state: KeeperState = "connecting";
  /** Why there is no session at the moment. */
  problem: Trouble | Error | null = null;
  link: Link | null = null;
  /** The gateway was asked and hasn't answered yet. */
  isOpening = false;
  private readonly backoff = new Backoff();
  private readonly pause = new Pause();
  private readonly ending = new AbortController();
  private breakNow: (() => void) | null = null;

  constructor(private readonly how: KeeperHow) {}

  /** Runs until closed. */
  async run(): Promise<void> {
    while (!this.ending.signal.aborted) {
      await this.once();
      if (this.ending.signal.aborted) break;
      this.show("waiting");
      await this.pause.wait(this.backoff.next());
    }
  }

  /** The gateway was started anew, or nothing comes any more: this session is dead, open another one now. */
  renew(): void {
    this.backoff.reset();
    this.breakNow?.();
    this.pause.end();
  }

  close(): void {
    if (this.state === "closed") return;
    this.ending.abort();
    this.pause.end();
    this.breakNow?.();
    this.link?.close();
    this.link = null;
    this.show("closed");
  }

  private async once(): Promise<void> {
    this.show("connecting");
    this.isOpening = true;
    let link: Link;
    try {
      link = await this.how.open();
    } catch (error) {
      this.problem = error instanceof Error ? error : new Error(String(error));
      return;
    } finally {
      this.isOpening = false;
    }
    if (this.ending.signal.aborted) return link.close();
    this.link = link;
    this.how.opened?.(link);
    if (await link.connects(CONNECT_MS)) {
      this.problem = null;
      this.show("live");
      const since = Date.now();
      await this.untilBroken(link);
      if (Date.now() - since > GOOD_MS) this.backoff.reset();
    } else {
      const what = "The media connection doesn't come about.";
      this.problem = new Trouble(0, "no_media", what, "Is UDP to the gateway blocked by a firewall?");
    }
    link.close();
    if (this.link === link) this.link = null;
  }

  /** Returns when this session can't be saved any more. */
  private async untilBroken(link: Link): Promise<void> {
    const { pc } = link;
    await new Promise<void>((resolve) => {
      let timer: ReturnType<typeof setTimeout> | undefined;
      let isRestarting = false;
      const end = (): void => {
        clearTimeout(timer);
        pc.removeEventListener("connectionstatechange", look);
        this.breakNow = null;
        resolve();
      };
      const restart = async (): Promise<void> => {
        timer = undefined;
        if (isRestarting) return;
        isRestarting = true;
        this.show("connecting");
        const isBack = await link.restart();
        isRestarting = false;
        if (!isBack) end();
        else this.show("live");
      };
      const look = (): void => {
        const state = pc.connectionState;
        if (state === "connected") {
          clearTimeout(timer);
          timer = undefined;
        } else if (state === "closed") end();
        else if (state === "failed") void restart();
        else if (state === "disconnected" && timer === undefined) timer = setTimeout(() => void restart(), BREAK_MS);
      };
      this.breakNow = end;
      pc.addEventListener("connectionstatechange", look);
      look();
    });
  }

  private show(state: KeeperState): void {
    if (this.state === "closed") return;
    this.state = state;
    this.how.changed();
  }
}
