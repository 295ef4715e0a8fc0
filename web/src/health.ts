/** The theatre's picture at a glance: a colour, a few words, and the figures behind them. No DOM here. */

import type { ParticipantState, StreamState, TrackState } from "./api";
import type { Reception } from "./reception";

export type Tone = "good" | "fair" | "poor" | "off";

export interface Health {
  tone: Tone;
  /** Two or three words. */
  words: string;
  /** Latency, loss, resolution; what isn't known is left out. */
  figures: string[];
  /** Where the trouble is, when there is any. */
  detail: string;
}

const LATENCY_FAIR_MS = 400;
const LATENCY_POOR_MS = 1000;
const LOSS_FAIR = 1;
const LOSS_POOR = 5;
/** Share of the pictures below which it is seen that some are left out. */
const SLOW = 0.6;
const FROZEN_MS = 2500;
/** Codecs and the gateway's own way of a picture, which nobody reports. */
const FIXED_MS = 30;

export const trackOf = (stream: StreamState | undefined, kind: "audio" | "video"): TrackState | undefined =>
  stream?.tracks.find((track) => track.kind === kind);

/** From the theatre's encoder to this screen, as far as the network's figures tell. Null: nothing is known yet. */
export function latencyMs(theirs: TrackState | undefined, ours: Reception | null): number | null {
  if (ours?.bufferMs == null && ours?.rttMs == null) return null;
  const before = (theirs?.rtt_ms ?? 0) / 2 + (theirs?.jitter_ms ?? 0);
  const after = (ours.rttMs ?? 0) / 2 + (ours.bufferMs ?? 0);
  return Math.round(before + after + FIXED_MS);
}

export function judge(name: string, stream: StreamState | undefined, ours: Reception | null, isLive: boolean): Health {
  const video = trackOf(stream, "video");
  const figures: string[] = [];
  const latency = latencyMs(video ?? trackOf(stream, "audio"), ours);
  const theirLoss = video?.loss_percent ?? trackOf(stream, "audio")?.loss_percent ?? 0;
  const ourLoss = ours?.lossPercent ?? 0;
  if (latency !== null) figures.push(`${latency} ms`);
  figures.push(`${percent(Math.max(theirLoss, ourLoss))} lost`);
  const width = ours?.width || video?.width || 0;
  const height = ours?.height || video?.height || 0;
  const fps = Math.round(ours?.fps ?? video?.fps ?? 0);
  if (width && height) figures.push(fps > 0 ? `${width}×${height}, ${fps}/s` : `${width}×${height}`);
  const told = (tone: Tone, words: string, detail = ""): Health => ({ tone, words, figures, detail });

  if (!stream || stream.tracks.length === 0) return { ...told("off", "Nothing arrives", `${name} sends nothing`), figures: [] };
  if (!isLive) return { ...told("fair", "Connecting"), figures: [] };
  if (!video) return told(theirLoss >= LOSS_POOR ? "poor" : "fair", "Sound only", `${name} sends no picture`);
  if (video.bitrate_bps === 0) return told("poor", "No picture", `${name} stopped sending its picture`);
  if (ours && ours.frozenMs > FROZEN_MS) {
    return told("poor", "Picture frozen", `No picture for ${Math.round(ours.frozenMs / 1000)} s`);
  }
  if (theirLoss >= LOSS_FAIR || ourLoss >= LOSS_FAIR) {
    const isTheirs = theirLoss >= ourLoss;
    const where = isTheirs ? `between ${name} and the gateway` : "between the gateway and this computer";
    const worst = Math.max(theirLoss, ourLoss);
    const words = worst >= LOSS_POOR ? "Bad connection" : "Choppy";
    return told(worst >= LOSS_POOR ? "poor" : "fair", words, `Packets are lost ${where}`);
  }
  if (ours?.steadyFps != null && video.fps >= 15 && ours.steadyFps < video.fps * SLOW) {
    const shown = `${Math.round(ours.steadyFps)} of ${Math.round(video.fps)}`;
    return told("fair", "Choppy", `This computer shows ${shown} pictures a second: close other programs or tabs`);
  }
  if (latency !== null && latency >= LATENCY_FAIR_MS) {
    return told(latency >= LATENCY_POOR_MS ? "poor" : "fair", "Delayed", `What you see happened ${seconds(latency)} ago`);
  }
  return told("good", "Good picture");
}

const percent = (value: number): string => `${value < 0.05 ? "0" : value < 10 ? value.toFixed(1) : value.toFixed(0)} %`;
const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

/** Somebody, perhaps we, can't be shown its picture; a note says why. */
export const isUnseen = (participant: ParticipantState): boolean =>
  participant.notes.some((note) => note.code === "picture_unseen");
