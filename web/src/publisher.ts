/** Publishes our camera and microphone into the room over WHIP, within what the theatre's device can decode. */

import type { LimitState } from "./api";
import { Keeper, type KeeperState } from "./keeper";
import { encodingFor } from "./limit";
import { Link } from "./link";
import type { OwnMedia } from "./own";
import { preferH264 } from "./player";

export interface PublisherHow {
  room: string;
  name: string;
  own: OwnMedia;
  token: () => string | null;
  iceServers: () => RTCIceServer[];
  limit: () => LimitState | null;
  changed: () => void;
  /** The gateway gave us this participant id; null: we are out. */
  became: (session: string | null) => void;
}

export class Publisher {
  private readonly keeper: Keeper;
  private readonly senders: Partial<Record<"audio" | "video", RTCRtpSender>> = {};

  constructor(private readonly how: PublisherHow) {
    const path = `/rooms/${encodeURIComponent(how.room)}/whip?name=${encodeURIComponent(how.name)}`;
    this.keeper = new Keeper({
      changed: how.changed,
      opened: (link) => {
        how.became(link.session);
        void this.respectLimit();
      },
      open: () =>
        Link.open({
          url: path,
          token: how.token(),
          iceServers: how.iceServers(),
          prepare: (pc) => this.prepare(pc),
        }),
    });
    void this.keeper.run();
  }

  get state(): KeeperState {
    return this.keeper.state;
  }

  /** We may be in the room's list already without knowing which one we are. */
  get isEntering(): boolean {
    return this.keeper.isOpening;
  }

  get problem(): Error | null {
    return this.keeper.problem;
  }

  private prepare(pc: RTCPeerConnection): void {
    this.how.became(null);
    for (const kind of ["audio", "video"] as const) {
      const transceiver = pc.addTransceiver(this.how.own.track(kind) ?? kind, { direction: "sendonly" });
      this.senders[kind] = transceiver.sender;
      if (kind === "video") preferH264(transceiver, RTCRtpSender.getCapabilities("video"), true);
    }
  }

  /** A camera or microphone was switched: no new negotiation is needed for that. */
  async tracksChanged(): Promise<void> {
    for (const kind of ["audio", "video"] as const) {
      const sender = this.senders[kind];
      const track = this.how.own.track(kind);
      if (!sender || sender.track === track) continue;
      try {
        await sender.replaceTrack(track);
      } catch (error) {
        // The connection was closed meanwhile: the next one begins with the new track.
        console.info("track was not replaced", error);
      }
    }
    await this.respectLimit();
  }

  /** Scales the picture to what the devices in the room can decode. */
  async respectLimit(): Promise<void> {
    const sender = this.senders.video;
    const settings = sender?.track?.getSettings();
    if (!sender || !settings) return;
    const encoding = encodingFor(settings.width ?? 0, settings.height ?? 0, this.how.limit(), settings.frameRate);
    const parameters = sender.getParameters();
    const first = parameters.encodings[0];
    if (!first) return;
    Object.assign(first, encoding);
    try {
      await sender.setParameters(parameters);
    } catch (error) {
      console.info("the limit could not be set", error);
    }
  }

  renew(): void {
    this.keeper.renew();
  }

  close(): void {
    this.keeper.close();
    this.how.became(null);
  }
}
