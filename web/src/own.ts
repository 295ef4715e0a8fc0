/** Our own camera and microphone: on, off, and what is wrong with them. Off means off: the camera's light goes out. */

import { captureNotice, type Notice } from "./words";

type Kind = "audio" | "video";

const WANTED: Record<Kind, MediaTrackConstraints> = {
  audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true },
  video: { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30, max: 30 } },
};
const WORDS: Record<Kind, string> = { audio: "microphone", video: "camera" };

export class OwnMedia {
  /** For the preview; holds the camera's track while it is on. */
  readonly preview = new MediaStream();
  notices: Partial<Record<Kind, Notice>> = {};
  private readonly tracks: Partial<Record<Kind, MediaStreamTrack>> = {};
  private readonly busy = new Set<Kind>();

  constructor(private readonly changed: () => void) {}

  track(kind: Kind): MediaStreamTrack | null {
    return this.tracks[kind] ?? null;
  }

  isOn(kind: Kind): boolean {
    return this.tracks[kind]?.enabled ?? false;
  }

  isBusy(kind: Kind): boolean {
    return this.busy.has(kind);
  }

  /** Opens both; each that fails leaves its notice behind. */
  async open(): Promise<void> {
    await Promise.all([this.turn("audio", true), this.turn("video", true)]);
  }

  async turn(kind: Kind, on: boolean): Promise<void> {
    if (this.busy.has(kind)) return;
    if (!on) return this.off(kind);
    const track = this.tracks[kind];
    if (track) {
      track.enabled = true;
      return this.changed();
    }
    this.busy.add(kind);
    this.changed();
    try {
      this.keep(kind, await capture(kind));
      delete this.notices[kind];
    } catch (error) {
      this.notices[kind] = captureNotice(error, WORDS[kind]);
    } finally {
      this.busy.delete(kind);
      this.changed();
    }
  }

  close(): void {
    for (const kind of ["audio", "video"] as const) this.drop(kind);
    this.changed();
  }

  /** A muted microphone stays open, so that it is back at once; a camera is closed. */
  private off(kind: Kind): void {
    delete this.notices[kind];
    const track = this.tracks[kind];
    if (track && kind === "audio") track.enabled = false;
    else this.drop(kind);
    this.changed();
  }

  private keep(kind: Kind, track: MediaStreamTrack): void {
    this.tracks[kind] = track;
    if (kind === "video") {
      track.contentHint = "motion";
      this.preview.addTrack(track);
    }
    track.addEventListener("ended", () => {
      if (this.tracks[kind] !== track) return;
      this.drop(kind);
      const what = WORDS[kind];
      const text = "Was it unplugged, or switched off in the browser? Switch it on again here.";
      this.notices[kind] = { severity: "warning", title: `The ${what} is gone.`, text };
      this.changed();
    });
  }

  private drop(kind: Kind): void {
    const track = this.tracks[kind];
    if (!track) return;
    delete this.tracks[kind];
    this.preview.removeTrack(track);
    track.stop();
  }
}

async function capture(kind: Kind): Promise<MediaStreamTrack> {
  if (!navigator.mediaDevices?.getUserMedia) throw new DOMException("no media devices", "NotSupportedError");
  const stream = await navigator.mediaDevices.getUserMedia({ [kind]: WANTED[kind] });
  const track = stream.getTracks()[0];
  if (!track) throw new DOMException("no track", "NotFoundError");
  return track;
}
