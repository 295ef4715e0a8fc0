import assert from "node:assert/strict";
import { test } from "node:test";

import type { LimitState, ParticipantState, RoomState, StreamState, TrackState } from "../src/api";
import { Backoff, Pause } from "../src/backoff";
import { alsoShownAt, bigOf, peopleOf, tilesOf } from "../src/choice";
import { judge, latencyMs } from "../src/health";
import { encodingFor } from "../src/limit";
import { Meter, type Reception } from "../src/reception";
import { answerAfterRestart, credentialsOf, fragmentOf } from "../src/sdp";
import { takeToken } from "../src/token";
import { ago, duration } from "../src/words";

const blocks = (width: number, height: number): number => Math.ceil(width / 16) * Math.ceil(height / 16);

const LEVELS: [string, LimitState][] = [
  ["1.0, QCIF", { max_fs: 99, max_mbps: 1485, max_kbps: 64 }],
  ["1.2, CIF at 15", { max_fs: 396, max_mbps: 6000, max_kbps: 384 }],
  ["1.3, CIF", { max_fs: 396, max_mbps: 11880, max_kbps: 768 }],
  ["2.2", { max_fs: 1620, max_mbps: 20250, max_kbps: 4000 }],
  ["3.0", { max_fs: 1620, max_mbps: 40500, max_kbps: 10000 }],
  ["3.1, 720p", { max_fs: 3600, max_mbps: 108000, max_kbps: 14000 }],
  ["4.0, 1080p", { max_fs: 8192, max_mbps: 245760, max_kbps: 20000 }],
];
const CAMERAS = [
  [1280, 720],
  [1920, 1080],
  [640, 480],
  [640, 360],
  [720, 1280],
  [352, 288],
] as const;

for (const [name, limit] of LEVELS) {
  for (const [width, height] of CAMERAS) {
    test(`a ${width}x${height} camera keeps to level ${name}`, () => {
      const { scaleResolutionDownBy, maxFramerate, maxBitrate } = encodingFor(width, height, limit);
      // However the browser rounds the scaled size.
      for (const round of [Math.floor, Math.round, Math.ceil]) {
        const sent = blocks(round(width / scaleResolutionDownBy), round(height / scaleResolutionDownBy));
        assert.ok(sent <= limit.max_fs, `${sent} of ${limit.max_fs} macroblocks`);
        assert.ok(sent * maxFramerate <= limit.max_mbps, `${sent} x ${maxFramerate} of ${limit.max_mbps}`);
      }
      assert.ok(maxFramerate >= 14 && maxFramerate <= 30);
      assert.ok(maxBitrate <= limit.max_kbps * 1000);
    });
  }
}

test("nothing is scaled without need", () => {
  assert.equal(encodingFor(1280, 720, null).scaleResolutionDownBy, 1);
  assert.deepEqual(encodingFor(1280, 720, { max_fs: 3600, max_mbps: 108000, max_kbps: 0 }), {
    scaleResolutionDownBy: 1,
    maxFramerate: 30,
    maxBitrate: 2_500_000,
  });
});

test("pauses double, are spread and bounded", () => {
  const longest = new Backoff(() => 1);
  const shortest = new Backoff(() => 0);
  const waits = Array.from({ length: 9 }, () => longest.next());
  assert.deepEqual(waits.slice(0, 4), [400, 800, 1600, 3200]);
  assert.equal(waits.at(-1), 12_000);
  assert.equal(shortest.next(), 200);
  longest.reset();
  assert.equal(longest.next(), 400);
});

test("a pause can be cut short", async () => {
  const pause = new Pause();
  const began = Date.now();
  setTimeout(() => pause.end(), 20);
  await pause.wait(5_000);
  assert.ok(Date.now() - began < 1_000);
});

const ANSWER = [
  "v=0",
  "a=group:BUNDLE 0 1",
  "m=audio 9 UDP/TLS/RTP/SAVPF 111",
  "a=ice-ufrag:old1",
  "a=ice-pwd:oldpassword",
  "a=candidate:1 1 udp 1 10.0.0.1 5000 typ host",
  "a=end-of-candidates",
  "a=mid:0",
  "m=video 9 UDP/TLS/RTP/SAVPF 96",
  "a=ice-ufrag:old1",
  "a=ice-pwd:oldpassword",
  "a=mid:1",
  "",
].join("\r\n");

test("a fragment has credentials, first line and candidates", () => {
  const body = fragmentOf(ANSWER, ["candidate:9 1 udp 1 10.0.0.9 9 typ host"], true);
  assert.deepEqual(body?.split("\r\n"), [
    "a=group:BUNDLE 0 1",
    "a=ice-ufrag:old1",
    "a=ice-pwd:oldpassword",
    "m=audio 9 UDP/TLS/RTP/SAVPF 111",
    "a=mid:0",
    "a=candidate:9 1 udp 1 10.0.0.9 9 typ host",
    "a=end-of-candidates",
    "",
  ]);
  assert.equal(fragmentOf("v=0\r\n", [], true), null);
});

test("after an ICE restart the answer has the new credentials on every line and the new candidates", () => {
  const fragment = "a=ice-ufrag:new1\r\na=ice-pwd:newpassword\r\na=candidate:2 1 udp 1 10.0.0.2 6000 typ host\r\n";
  const made = answerAfterRestart(ANSWER, fragment) ?? "";
  assert.deepEqual(credentialsOf(made), { ufrag: "new1", password: "newpassword" });
  assert.equal(made.match(/ice-ufrag:new1/g)?.length, 2);
  assert.ok(!made.includes("old"));
  assert.equal(made.match(/a=candidate:/g)?.length, 1);
  assert.ok(made.includes("10.0.0.2"));
  assert.equal(answerAfterRestart(ANSWER, ""), null);
});

const person = (id: string, more: Partial<ParticipantState> = {}): ParticipantState => ({
  id,
  name: `name-${id}`,
  kind: "guest",
  state: "active",
  streams: { main: `room/${id}/main` },
  audio: true,
  video: true,
  speaking: false,
  notes: [],
  ...more,
});
const roomOf = (...participants: ParticipantState[]): RoomState => ({
  name: "or-3",
  title: "or-3",
  backend: "embedded",
  open: true,
  full: false,
  max_participants: 16,
  participants,
  devices: [],
  speaker: null,
  pins: {},
});
const DEVICE = person("sip-1", { kind: "device", streams: { main: "or-3/main" } });
const SHARING = person("sip-1", { kind: "device", streams: { main: "or-3/main", content: "or-3/content" } });
const FETCHED = person("or-9", { kind: "device", state: "connecting", streams: { main: "or-9/main" } });
const LI = person("li");
const ADA = person("ada");
const ARCHIVE = person("rtmp-1", { kind: "output", name: "archive", streams: {} });

test("where the room is shown besides is nobody whom people meet", () => {
  const room = roomOf(LI, ARCHIVE, DEVICE, { ...ARCHIVE, id: "rtmp-2", name: "lecture hall" });
  assert.deepEqual(peopleOf(room), [LI, DEVICE]);
  assert.deepEqual(
    tilesOf(room, null).map((tile) => tile.key),
    ["sip-1/main", "li/main"],
  );
  assert.equal(alsoShownAt(room), "Also shown at: archive, lecture hall");
  assert.equal(alsoShownAt(roomOf(LI)), "");
});

test("tiles are everybody else, the theatre first, content beside it", () => {
  const tiles = tilesOf(roomOf(LI, SHARING, ADA, person("mute", { streams: {} })), "ada");
  assert.deepEqual(
    tiles.map((tile) => [tile.key, tile.stream]),
    [
      ["sip-1/main", "or-3/main"],
      ["sip-1/content", "or-3/content"],
      ["li/main", "room/li/main"],
      ["mute/main", null],
    ],
  );
});

const BIG: [string, Parameters<typeof bigOf>[1], ParticipantState[], string | null][] = [
  ["nobody is there", { picked: null, speaker: null, current: null }, [], null],
  ["the theatre at first", { picked: null, speaker: null, current: null }, [LI, DEVICE], "sip-1/main"],
  ["who speaks", { picked: null, speaker: "li", current: "sip-1/main" }, [LI, DEVICE], "li/main"],
  ["the last speaker stays", { picked: null, speaker: null, current: "li/main" }, [LI, DEVICE], "li/main"],
  ["I speak: no change", { picked: null, speaker: "me", current: "li/main" }, [LI, DEVICE], "li/main"],
  ["content before who speaks", { picked: null, speaker: "li", current: null }, [LI, SHARING], "sip-1/content"],
  ["the choice before all", { picked: "name-ada/main", speaker: "li", current: null }, [LI, SHARING, ADA], "ada/main"],
  ["the chosen one left", { picked: "name-ada/main", speaker: "li", current: null }, [LI, DEVICE], "li/main"],
  ["what isn't connected yet waits", { picked: null, speaker: null, current: "or-9/main" }, [FETCHED, DEVICE], "sip-1/main"],
  ["but is better than nobody", { picked: null, speaker: null, current: null }, [FETCHED], "or-9/main"],
  ["the big one left", { picked: null, speaker: null, current: "gone/main" }, [LI, ADA], "li/main"],
];
for (const [name, how, people, expected] of BIG) {
  test(`big: ${name}`, () => assert.equal(bigOf(tilesOf(roomOf(...people), "me"), how)?.key ?? null, expected));
}

const track = (more: Partial<TrackState> = {}): TrackState => ({
  kind: "video",
  codec: "H264",
  bitrate_bps: 1_000_000,
  lost_units: 0,
  width: 1280,
  height: 720,
  fps: 30,
  loss_percent: 0,
  jitter_ms: 4,
  rtt_ms: 20,
  ...more,
});
const stream = (...tracks: TrackState[]): StreamState => ({
  name: "or-3/main",
  room: "or-3",
  participant: "sip-1",
  age_s: 1,
  subscribers: 1,
  tracks,
});
const ours = (more: Partial<Reception> = {}): Reception => ({
  bytes: 1,
  fps: 29.6,
  steadyFps: 29.8,
  width: 1280,
  height: 720,
  lossPercent: 0,
  rttMs: 10,
  bufferMs: 60,
  frozenMs: 0,
  ...more,
});

test("latency adds both ways of the network, both buffers and a fixed part", () => {
  assert.equal(latencyMs(track(), ours()), 10 + 4 + 5 + 60 + 30);
  assert.equal(latencyMs(undefined, ours({ rttMs: null, bufferMs: null })), null);
});

const VERDICTS: [string, StreamState | undefined, Reception | null, boolean, string, string, RegExp][] = [
  ["all is well", stream(track()), ours(), true, "good", "Good picture", /^$/],
  ["no stream", undefined, null, true, "off", "Nothing arrives", /sends nothing/],
  ["not connected yet", stream(track()), null, false, "fair", "Connecting", /^$/],
  ["sound only", stream(track({ kind: "audio" })), ours(), true, "fair", "Sound only", /no picture/],
  ["picture ended", stream(track({ bitrate_bps: 0 })), ours(), true, "poor", "No picture", /stopped/],
  ["frozen", stream(track()), ours({ frozenMs: 4000 }), true, "poor", "Picture frozen", /4 s/],
  ["their loss", stream(track({ loss_percent: 2 })), ours(), true, "fair", "Choppy", /between or-3 and the gateway/],
  ["our loss", stream(track()), ours({ lossPercent: 8 }), true, "poor", "Bad connection", /and this computer/],
  ["a slow computer", stream(track()), ours({ steadyFps: 12 }), true, "fair", "Choppy", /12 of 30 pictures/],
  ["late", stream(track()), ours({ bufferMs: 700 }), true, "fair", "Delayed", /0.7 s ago/],
  ["very late", stream(track()), ours({ bufferMs: 2000 }), true, "poor", "Delayed", /2.0 s ago/],
];
for (const [name, known, reception, isLive, tone, words, detail] of VERDICTS) {
  test(`health: ${name}`, () => {
    const health = judge("or-3", known, reception, isLive);
    assert.deepEqual([health.tone, health.words], [tone, words]);
    assert.match(health.detail, detail);
  });
}

test("figures are there to be read", () => {
  const { figures } = judge("or-3", stream(track({ loss_percent: 0.4 })), ours(), true);
  assert.deepEqual(figures, ["109 ms", "0.4 % lost", "1280×720, 30/s"]);
});

test("the meter counts differences, not totals", async () => {
  let reports: Record<string, unknown>[] = [];
  const meter = new Meter({
    getStats: async () => new Map(reports.map((report, at) => [String(at), report])) as unknown as RTCStatsReport,
  });
  const reading = (second: number, lost: number, moving = true): Record<string, unknown>[] => [
    {
      type: "inbound-rtp",
      kind: "video",
      bytesReceived: 1000 * second,
      framesDecoded: moving ? 25 * second : 25,
      packetsReceived: 100 * second,
      packetsLost: lost,
      jitterBufferDelay: 2 * second,
      jitterBufferEmittedCount: 25 * second,
      totalDecodeTime: 0.1 * second,
      frameWidth: 640,
      frameHeight: 360,
    },
    { type: "inbound-rtp", kind: "audio", bytesReceived: 50 * second },
    { type: "transport", selectedCandidatePairId: "3" },
    { type: "candidate-pair", id: "3", currentRoundTripTime: 0.012 },
  ];
  reports = reading(1, 0);
  await meter.read(1_000_000);
  reports = reading(2, 10);
  const second = await meter.read(1_001_000);
  assert.equal(second.bytes, 1050);
  assert.equal(second.fps, 25);
  assert.ok(Math.abs(second.lossPercent - (10 / 210) * 100) < 0.01 || Math.abs(second.lossPercent - (10 / 110) * 100) < 0.01);
  assert.equal(second.bufferMs, 80 + 4);
  assert.equal(second.rttMs, 12);
  assert.equal(second.frozenMs, 0);
  reports = reading(3, 10, false);
  await meter.read(1_002_000);
  reports = reading(4, 10, false);
  const fourth = await meter.read(1_003_000);
  assert.equal(fourth.frozenMs, 2000);
  assert.equal(fourth.steadyFps, null);
});

test("the token leaves the address and stays in the tab", () => {
  const kept = new Map<string, string>();
  let shown = "https://gateway/rooms/or-3?token=s3cret&x=1#top";
  const places = {
    location: { href: shown },
    history: { replaceState: (_data: unknown, _unused: string, url: string) => void (shown = url) },
    storage: {
      getItem: (key: string) => kept.get(key) ?? null,
      setItem: (key: string, value: string) => void kept.set(key, value),
      removeItem: (key: string) => void kept.delete(key),
    },
  };
  assert.equal(takeToken(places), "s3cret");
  assert.equal(shown, "/rooms/or-3?x=1#top");
  assert.equal(takeToken({ ...places, location: { href: "https://gateway/rooms/or-3" } }), "s3cret");
});

test("times in words", () => {
  assert.deepEqual([10, 120, 7200, 400_000].map(ago), ["just now", "2 minutes ago", "2 hours ago", "5 days ago"]);
  assert.deepEqual([4.9, 185, 7500, 273_600].map(duration), ["4 s", "3 min", "2 h 5 min", "3 d 4 h"]);
});
