/** The room's events over a websocket that comes back by itself. */

import type { Hello, RoomEvent, RoomState } from "./api";
import { ask, OFFLINE, Trouble } from "./api";
import { Backoff, Pause } from "./backoff";

export interface EventsHow {
  room: string;
  token: () => string | null;
  /** First message of every connection. */
  hello: (hello: Hello) => void;
  event: (event: Exclude<RoomEvent, Hello>) => void;
  /** Connected (null) or not, and why. */
  state: (trouble: Trouble | null) => void;
}

/** Figures come every second: a connection that is silent for so long is dead, though nobody said so. */
const SILENT_MS = 6_000;
const TOKEN_WITHDRAWN = 4401;

export class RoomEvents {
  private socket: WebSocket | null = null;
  private readonly backoff = new Backoff();
  private readonly pause = new Pause();
  private isClosed = false;
  private end: (() => void) | null = null;

  constructor(private readonly how: EventsHow) {
    window.addEventListener("online", () => this.retry());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.retry());
    void this.run();
  }

  /** Tries at once instead of waiting; also after a new token. */
  retry(): void {
    this.backoff.reset();
    this.pause.end();
  }

  send(message: unknown): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  close(): void {
    this.isClosed = true;
    this.end?.();
    this.pause.end();
  }

  private async run(): Promise<void> {
    while (!this.isClosed) {
      const trouble = await this.once();
      if (this.isClosed) return;
      this.how.state(trouble);
      // With a refused token nothing changes by itself, but it may be allowed again later.
      await this.pause.wait(trouble.isFinal ? 30_000 : this.backoff.next());
    }
  }

  /** One connection from beginning to end; returns why it ended. */
  private async once(): Promise<Trouble> {
    const refused = await this.refusal();
    if (refused) return refused;
    return await new Promise<Trouble>((resolve) => {
      const url = new URL(`/api/v1/rooms/${encodeURIComponent(this.how.room)}/events`, window.location.href);
      url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
      const token = this.how.token();
      if (token) url.searchParams.set("token", token);
      const socket = new WebSocket(url);
      this.socket = socket;
      const end = (trouble: Trouble): void => {
        clearTimeout(timer);
        if (this.socket === socket) this.socket = null;
        // A peer that is gone answers no closing handshake: nobody waits for it.
        socket.close();
        resolve(trouble);
      };
      let timer = setTimeout(() => end(silent()), SILENT_MS);
      socket.addEventListener("message", (message) => {
        if (this.socket !== socket) return;
        clearTimeout(timer);
        timer = setTimeout(() => end(silent()), SILENT_MS);
        this.take(JSON.parse(String(message.data)) as RoomEvent);
      });
      socket.addEventListener("close", (event) => end(troubleOf(event.code)));
      this.end = () => end(silent());
    });
  }

  private take(event: RoomEvent): void {
    if (event.type === "hello") {
      this.backoff.reset();
      this.how.state(null);
      this.how.hello(event);
    } else this.how.event(event);
  }

  /** A websocket that is refused tells a page nothing: ask in a way that gets words. */
  private async refusal(): Promise<Trouble | null> {
    try {
      await ask<RoomState>("GET", `/rooms/${encodeURIComponent(this.how.room)}`, this.how.token());
      return null;
    } catch (error) {
      if (!(error instanceof Trouble)) throw error;
      // Nobody has entered the room yet: it can be watched all the same.
      return error.error === "no_such_room" ? null : error;
    }
  }
}

const silent = (): Trouble => new Trouble(0, OFFLINE, "The gateway says nothing any more.", "This page comes back by itself.");

function troubleOf(code: number): Trouble {
  if (code === TOKEN_WITHDRAWN) return new Trouble(401, "token_wrong", "The access token is no longer valid.", "");
  if (code === 1001) return new Trouble(0, OFFLINE, "The gateway is being restarted.", "This page comes back by itself.");
  return new Trouble(0, OFFLINE, "The connection to the gateway broke.", "This page comes back by itself.");
}
