/** The gateway's JSON (gateway/http/schema.py; a test holds the two together) and how it is asked for. */

export type Right = "view" | "publish" | "operate" | "admin";
export type Role = "main" | "content";

export interface Problem {
  error: string;
  what: string;
  do: string;
}

export interface NoteState {
  code: string;
  text: string;
}

export interface DeviceState {
  name: string;
  adapter: string;
  room: string;
  state: "connected" | "connecting" | "registered" | "failed" | "unknown";
  session: string | null;
  since_at: number | null;
  reason: string;
}

export interface ParticipantState {
  id: string;
  name: string;
  kind: "device" | "guest" | "output";
  state: string;
  streams: Partial<Record<Role, string>>;
  audio: boolean;
  video: boolean;
  speaking: boolean;
  notes: NoteState[];
}

export interface RoomState {
  name: string;
  title: string;
  backend: string;
  open: boolean;
  full: boolean;
  max_participants: number;
  participants: ParticipantState[];
  devices: DeviceState[];
  speaker: string | null;
  pins: Record<string, string>;
}

export interface TrackState {
  kind: "audio" | "video";
  codec: string;
  bitrate_bps: number;
  lost_units: number;
  width: number;
  height: number;
  fps: number;
  loss_percent: number | null;
  jitter_ms: number | null;
  rtt_ms: number | null;
}

export interface StreamState {
  name: string;
  room: string | null;
  participant: string | null;
  age_s: number;
  subscribers: number;
  tracks: TrackState[];
}

export interface SessionState {
  id: string;
  adapter: string;
  name: string;
  device: string | null;
  room: string;
  state: string;
  inbound: boolean;
  remote: string;
  up_s: number;
  plays: string | null;
  streams: Partial<Record<Role, string>>;
  notes: NoteState[];
}

export interface LimitState {
  max_fs: number;
  max_mbps: number;
  max_kbps: number;
}

export interface IceServerState {
  urls: string[];
  username: string;
  credential: string;
}

export interface You {
  name: string;
  may: Right[];
}

export interface Hello {
  type: "hello";
  instance: string;
  version: string;
  you: You;
  ice_servers: IceServerState[];
  room: RoomState;
  limit: LimitState | null;
}

export interface RoomChanged {
  type: "room";
  room: RoomState;
}

export interface SpeakerChanged {
  type: "speaker";
  participant: string | null;
}

export interface Stats {
  type: "stats";
  streams: StreamState[];
  sees: Record<string, string | null>;
}

export interface LimitChanged {
  type: "limit";
  limit: LimitState | null;
}

export type RoomEvent = Hello | RoomChanged | SpeakerChanged | Stats | LimitChanged;

/** A request that failed: `what` and `do` are sentences for people. */
export class Trouble extends Error {
  constructor(
    readonly status: number,
    readonly error: string,
    readonly what: string,
    readonly advice: string,
  ) {
    super(what);
  }

  /** The token is missing, wrong or doesn't allow it: trying again with the same one is no use. */
  get isFinal(): boolean {
    return this.status === 401 || this.status === 403;
  }
}

export const OFFLINE = "offline";
const TIMEOUT_MS = 10_000;

/** `fetch` with the token and a time limit. Throws Trouble for every answer that isn't good, and for none at all. */
export async function send(path: string, token: string | null, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  if (token) headers.set("Authorization", `Bearer ${token}`);
  let response: Response;
  try {
    response = await fetch(path, {
      ...init,
      headers,
      cache: "no-store",
      signal: init.signal ?? AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch {
    throw new Trouble(0, OFFLINE, "The gateway doesn't answer.", "This page tries again by itself.");
  }
  if (!response.ok) throw await troubleOf(response);
  return response;
}

async function troubleOf(response: Response): Promise<Trouble> {
  try {
    const problem = (await response.json()) as Partial<Problem>;
    const what = problem.what ?? `The gateway answered with ${response.status}.`;
    return new Trouble(response.status, problem.error ?? "unknown", what, problem.do ?? "");
  } catch {
    const what = `The gateway answered with ${response.status} and no explanation.`;
    return new Trouble(response.status, "unknown", what, "Is there a proxy in between?");
  }
}

/** One API request; `body` goes as JSON. Throws Trouble. */
export async function ask<T>(method: string, path: string, token: string | null, body?: unknown): Promise<T> {
  const init: RequestInit = { method };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { "Content-Type": "application/json" };
  }
  const response = await send(`/api/v1${path}`, token, init);
  return (response.status === 204 ? undefined : await response.json()) as T;
}
