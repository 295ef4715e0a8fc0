/** Plays one remote stream over WHEP. Thumbnail, big picture and sound share its MediaStream. */

import { Keeper, type KeeperState } from "./keeper";
import { Link } from "./link";
import { Meter, type Reception } from "./reception";

export interface PlayerHow {
  stream: string;
  token: () => string | null;
  iceServers: () => RTCIceServer[];
  changed: () => void;
}

/** Nothing arrived for so long although the gateway has it: the session is taken for dead. */
const DEAD_MS = 4_000;

export class Player {
  /** Tracks come and go in it; the object stays the same, so that elements keep playing. */
  readonly media = new MediaStream();
  reception: Reception | null = null;
  private readonly keeper: Keeper;
  private meter: Meter | null = null;
  private heardAt = 0;
  private isMeasuring = false;

  constructor(private readonly how: PlayerHow) {
    this.keeper = new Keeper({
      changed: how.changed,
      opened: (link) => this.take(link),
      open: () =>
        Link.open({
          url: `/streams/${how.stream.split("/").map(encodeURIComponent).join("/")}/whep`,
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

  get problem(): Error | null {
    return this.keeper.problem;
  }

  private prepare(pc: RTCPeerConnection): void {
    const video = pc.addTransceiver("video", { direction: "recvonly" });
    pc.addTransceiver("audio", { direction: "recvonly" });
    preferH264(video, RTCRtpReceiver.getCapabilities("video"));
    pc.addEventListener("track", (event) => this.show(event.track));
  }

  private show(track: MediaStreamTrack): void {
    for (const old of this.media.getTracks()) {
      if (old.kind === track.kind && old !== track) this.media.removeTrack(old);
    }
    this.media.addTrack(track);
    track.addEventListener("unmute", this.how.changed);
    track.addEventListener("mute", this.how.changed);
    this.how.changed();
  }

  private take(link: Link): void {
    this.meter = new Meter(link.pc);
    this.heardAt = Date.now();
    this.reception = null;
  }

  /** Once a second. `isFed`: the gateway says that the stream has media. */
  async measure(isFed: boolean): Promise<void> {
    const meter = this.meter;
    if (!meter || this.isMeasuring || this.keeper.state !== "live") return;
    this.isMeasuring = true;
    try {
      const now = Date.now();
      this.reception = await meter.read(now);
      if (this.reception.bytes > 0 || !isFed) this.heardAt = now;
      else if (now - this.heardAt > DEAD_MS && document.visibilityState === "visible") this.keeper.renew();
    } finally {
      this.isMeasuring = false;
    }
  }

  renew(): void {
    this.keeper.renew();
  }

  close(): void {
    this.keeper.close();
    for (const track of this.media.getTracks()) this.media.removeTrack(track);
  }
}

/** Puts H.264 first, the profile that every device takes before others; what else there is stays behind it. */
export function preferH264(transceiver: RTCRtpTransceiver, known: RTCRtpCapabilities | null, only = false): void {
  if (!known || typeof transceiver.setCodecPreferences !== "function") return;
  const rank = (codec: RTCRtpCodec): number => {
    if (!/^video\/h264$/i.test(codec.mimeType)) return 2;
    const isBaseline = /profile-level-id=42e0/i.test(codec.sdpFmtpLine ?? "");
    return isBaseline && /packetization-mode=1/.test(codec.sdpFmtpLine ?? "") ? 0 : 1;
  };
  const sorted = [...known.codecs].sort((a, b) => rank(a) - rank(b));
  const wanted = only ? sorted.filter((codec) => rank(codec) < 2 || /rtx/i.test(codec.mimeType)) : sorted;
  transceiver.setCodecPreferences(wanted);
}

/** Whether this browser can show and send what room systems understand. */
export function hasH264(): boolean {
  const known = RTCRtpReceiver.getCapabilities("video");
  return !known || known.codecs.some((codec) => /^video\/h264$/i.test(codec.mimeType));
}
