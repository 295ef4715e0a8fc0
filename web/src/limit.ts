/** What our picture must be scaled to so that the theatre's decoder takes it (RFC 6184 8.1: macroblocks of 16 x 16). */

import type { LimitState } from "./api";

export interface Encoding {
  scaleResolutionDownBy: number;
  maxFramerate: number;
  maxBitrate: number;
}

const WANTED_FPS = 30;
/** Below this a picture is scaled further down before its rate is. */
const POOR_FPS = 15;
const MAX_BPS = 2_500_000;
const STEPS = 400;

const macroblocks = (width: number, height: number): number => Math.ceil(width / 16) * Math.ceil(height / 16);

/** Scale, rate and bit rate for a camera's picture; `wanted` bit rate where nothing limits it. */
export function encodingFor(width: number, height: number, limit: LimitState | null, fps = WANTED_FPS): Encoding {
  const rate = Math.min(fps || WANTED_FPS, WANTED_FPS);
  const bitrate = limit?.max_kbps ? Math.min(MAX_BPS, limit.max_kbps * 1000 * 0.9) : MAX_BPS;
  if (!limit || !width || !height) {
    return { scaleResolutionDownBy: 1, maxFramerate: rate, maxBitrate: Math.round(bitrate) };
  }
  for (let step = 0; step < STEPS; step += 1) {
    const scale = 1 + step * 0.05;
    // Browsers round a scaled picture down to even sizes, some up: count the larger one.
    const blocks = macroblocks(Math.ceil(width / scale / 2) * 2, Math.ceil(height / scale / 2) * 2);
    const possible = Math.floor((limit.max_mbps / blocks) * 10) / 10;
    if (blocks <= limit.max_fs && possible >= Math.min(POOR_FPS, rate)) {
      return {
        scaleResolutionDownBy: Math.round(scale * 100) / 100,
        maxFramerate: Math.min(rate, Math.floor(possible)),
        maxBitrate: Math.round(bitrate),
      };
    }
  }
  return { scaleResolutionDownBy: 1 + STEPS * 0.05, maxFramerate: POOR_FPS, maxBitrate: Math.round(bitrate) };
}
