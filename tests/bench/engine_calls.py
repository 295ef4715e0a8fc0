"""Program: whole calls on the engine, wired as the two adapters and a room wire them.

``engine_calls CALLS SOUND PORTS``: says each call's ports (device's sound, device's picture, browser's bundle) as
JSON, answers every line with the engine's totals, ends with its input.
"""

from __future__ import annotations

import sys
from typing import cast

import uvloop

from orbridge.codecs._engine import Engine, Leg, Mixer
from orbridge.codecs.media import Codec
from orbridge.gateway import log
from orbridge.gateway.config import Log
from orbridge.gateway.sound import mix_codec
from tests.bench.call_traffic import BROWSER_VIDEO_PT, DEVICE_VIDEO_PT, LINES, PROFILE, AudioLine, CallPorts, Sound
from tests.bench.engine_relay import serve
from tests.bench.keys import INBOUND, OUTBOUND, sized


class Call:
    """One bridged call. Keeps the engine's handles alive."""

    def __init__(self, engine: Engine, number: int, kind: Sound) -> None:
        device, browser = LINES[kind]
        ports = CallPorts.of(number)
        self._engine, self._number, self._mixer = engine, number, cast("Mixer | None", None)
        self.audio, self.video = engine.open_leg("127.0.0.1", rtcp="pair"), engine.open_leg("127.0.0.1", rtcp="pair")
        self.bundle = engine.open_leg("127.0.0.1", secure=True)
        self.bundle.set_keys(PROFILE, sized(OUTBOUND, PROFILE), sized(INBOUND, PROFILE))
        legs = ((self.audio, ports.device_audio), (self.video, ports.device_video), (self.bundle, ports.browser))
        for leg, port in legs:
            leg.set_peer("127.0.0.1", port)
        self._publishers = [engine.publish(f"room-{number}/{who}/main") for who in ("device", "browser")]
        device_audio, browser_audio = (
            publisher.add_track("audio", line.name, clock_hz=line.clock_hz)
            for publisher, line in zip(self._publishers, (device, browser), strict=True)
        )
        device_video, browser_video = (
            publisher.add_track("video", "H264", clock_hz=90_000) for publisher in self._publishers
        )
        self.audio.add_receiver(device_audio, payload_types={device.pt: device.name})
        self.video.add_receiver(device_video, payload_types={DEVICE_VIDEO_PT: "H264"}, pli=True, fir=True)
        self.bundle.add_receiver(browser_audio, payload_types={browser.pt: browser.name})
        self.bundle.add_receiver(
            browser_video,
            payload_types={BROWSER_VIDEO_PT: "H264"},
            rtx={BROWSER_VIDEO_PT + 1: BROWSER_VIDEO_PT},
            nack=True,
            pli=True,
            fir=True,
            remb_bps=4_000_000,
        )
        to_device, to_browser = browser_audio, device_audio
        if kind == "mixed":
            to_device, to_browser = self._mix(device, browser, device_audio, browser_audio)
        self._send_audio(self.audio, device, 100_000, to_device)
        self._send_audio(self.bundle, browser, 200_000, to_browser)
        self._send_video(self.video, DEVICE_VIDEO_PT, 300_000, browser_video, rtx=False)
        self._send_video(self.bundle, BROWSER_VIDEO_PT, 400_000, device_video, rtx=True)

    def _mix(self, device: AudioLine, browser: AudioLine, device_audio: int, browser_audio: int) -> tuple[int, int]:
        """A room's mix: everybody hears all but himself."""
        self._mixer = self._engine.open_mixer(label=f"room-{self._number}")
        self._mixer.set_inputs([device_audio, browser_audio])
        self._outputs = [
            self._mixer.add_output(
                f"room-{self._number}/mix/{line.name}", mix_codec(Codec(line.name, line.clock_hz)), exclude=[own]
            )
            for line, own in ((device, device_audio), (browser, browser_audio))
        ]
        return self._outputs[0].track_id, self._outputs[1].track_id

    def _send_audio(self, leg: Leg, line: AudioLine, ssrc: int, track: int) -> None:
        sender = leg.add_sender(line.name, line.pt, clock_hz=line.clock_hz, ssrc=ssrc + self._number, cname="bench")
        sender.select(track)

    def _send_video(self, leg: Leg, pt: int, ssrc: int, track: int, *, rtx: bool) -> None:
        sender = leg.add_sender(
            "H264",
            pt,
            clock_hz=90_000,
            ssrc=ssrc + self._number,
            cname="bench",
            rtx_pt=pt + 1 if rtx else None,
            rtx_ssrc=ssrc + 50_000 + self._number if rtx else None,
        )
        sender.select(track)


def main(count: int, kind: Sound, ports: tuple[int, int]) -> None:
    log.configure(Log())
    engine = Engine(udp_ports=ports)
    calls = [Call(engine, number, kind) for number in range(count)]
    uvloop.run(serve(engine, [[call.audio.port, call.video.port, call.bundle.port] for call in calls], "idle"))


if __name__ == "__main__":
    low, _, high = sys.argv[3].partition("-")
    main(int(sys.argv[1]), cast(Sound, sys.argv[2]), (int(low), int(high)))
