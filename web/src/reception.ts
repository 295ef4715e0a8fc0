/** How a stream arrives in this browser, from the differences between two readings of getStats. */

export interface Reception {
  /** Bytes of picture and sound since the last reading. */
  bytes: number;
  fps: number;
  /** Over the last seconds; null until some have passed. */
  steadyFps: number | null;
  width: number;
  height: number;
  lossPercent: number;
  /** Round trip between this browser and the gateway. */
  rttMs: number | null;
  /** What the browser holds back to smooth the picture, and the decoding. */
  bufferMs: number | null;
  /** Since when the picture stands still; 0 when it moves or there is none. */
  frozenMs: number;
}

interface Raw {
  bytes: number;
  frames: number;
  packets: number;
  lost: number;
  delayS: number;
  emitted: number;
  decodeS: number;
}

const WINDOW = 5;

export class Meter {
  private last: Raw | null = null;
  private lastAt = 0;
  private movedAt = 0;
  private readonly rates: number[] = [];
  private readonly losses: [lost: number, all: number][] = [];

  constructor(private readonly pc: Pick<RTCPeerConnection, "getStats">) {}

  async read(now: number): Promise<Reception> {
    const reports = [...(await this.pc.getStats()).values()] as Record<string, number | string | boolean>[];
    const number = (report: Record<string, unknown> | undefined, name: string): number => Number(report?.[name] ?? 0);
    const inbound = reports.filter((report) => report["type"] === "inbound-rtp");
    const video = inbound.find((report) => report["kind"] === "video");
    const raw: Raw = {
      bytes: inbound.reduce((sum, report) => sum + number(report, "bytesReceived"), 0),
      frames: number(video, "framesDecoded"),
      packets: number(video, "packetsReceived"),
      lost: number(video, "packetsLost"),
      delayS: number(video, "jitterBufferDelay"),
      emitted: number(video, "jitterBufferEmittedCount"),
      decodeS: number(video, "totalDecodeTime"),
    };
    const last = this.last ?? raw;
    const seconds = Math.max(0.001, (now - this.lastAt) / 1000);
    const frames = raw.frames - last.frames;
    if (frames > 0 || this.movedAt === 0) this.movedAt = now;
    this.count(raw, last);
    const isFirst = this.last === null;
    this.last = raw;
    this.lastAt = now;
    if (!isFirst) this.rates.push(frames / seconds);
    if (this.rates.length > WINDOW) this.rates.shift();
    const emitted = raw.emitted - last.emitted;
    const decode = frames > 0 ? ((raw.decodeS - last.decodeS) / frames) * 1000 : 0;
    return {
      bytes: isFirst ? raw.bytes : raw.bytes - last.bytes,
      fps: isFirst ? number(video, "framesPerSecond") : frames / seconds,
      steadyFps: this.rates.length < WINDOW ? null : this.rates.reduce((sum, rate) => sum + rate, 0) / WINDOW,
      width: number(video, "frameWidth"),
      height: number(video, "frameHeight"),
      lossPercent: this.loss(),
      rttMs: roundTrip(reports),
      bufferMs: emitted > 0 ? ((raw.delayS - last.delayS) / emitted) * 1000 + decode : null,
      frozenMs: raw.frames > 0 ? now - this.movedAt : 0,
    };
  }

  private count(raw: Raw, last: Raw): void {
    const lost = Math.max(0, raw.lost - last.lost);
    this.losses.push([lost, Math.max(0, raw.packets - last.packets) + lost]);
    if (this.losses.length > WINDOW) this.losses.shift();
  }

  private loss(): number {
    const lost = this.losses.reduce((sum, [one]) => sum + one, 0);
    const all = this.losses.reduce((sum, [, one]) => sum + one, 0);
    return all > 0 ? (lost / all) * 100 : 0;
  }
}

function roundTrip(reports: Record<string, number | string | boolean>[]): number | null {
  const transport = reports.find((report) => report["type"] === "transport");
  const chosen = transport?.["selectedCandidatePairId"];
  const pair = reports.find(
    (report) =>
      report["type"] === "candidate-pair" &&
      (chosen !== undefined ? report["id"] === chosen : report["nominated"] === true && report["state"] === "succeeded"),
  );
  const seconds = pair?.["currentRoundTripTime"];
  return typeof seconds === "number" ? seconds * 1000 : null;
}
