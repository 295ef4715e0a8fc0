"""A15: devices behind NATs: where media really comes from counts, is learned once, and can't be stolen."""

import asyncio
import socket
import struct
import time
from collections.abc import Callable

import pytest
from device_rtp import Line
from device_sdp import crypto, room_system, with_crypto
from raw_device import RawDevice
from running_gateway import Gateway
from waiting import crowding, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.e2e, pytest.mark.timeout(60)]

DEVICES = {"one": ""}
ROOM, STUDIO, STUDIO_HZ = "theatre", 200, 700
Make = Callable[..., RawDevice]


async def flows(one: RawDevice, studio: RawDevice, within_s: float = 3.0) -> None:
    frames, seen = studio.video.screen.frames, one.video.screen.frames
    sounds, heard = studio.audio.ear.frames, one.audio.ear.frames
    await until(
        "picture and sound both ways",
        lambda: (
            studio.video.screen.frames > frames + 2
            and studio.video.screen.who == one.who
            and one.video.screen.frames > seen + 2
            and studio.audio.ear.frames > sounds
            and one.audio.ear.frames > heard
        ),
        within_s,
        0.02,
    )


async def leg_facts(gateway: Gateway, one: RawDevice) -> list[dict[str, object]]:
    detail = await gateway.api("GET", f"/sessions/{(await one.facts())['id']}")
    found: list[dict[str, object]] = detail["stats"]["legs"]
    return found


@pytest.mark.parametrize("said", ["10.1.2.3", "192.168.0.9", "127.0.0.7"])
async def test_an_address_that_is_not_its_own(studio: RawDevice, device: Make, said: str) -> None:
    """A private address in the SDP, or somebody else's: locked on to what comes within a second."""
    async with device("one", who=1, hz=500, said_host=said) as one:
        await one.call(ROOM)
        began = time.monotonic()
        await flows(one, studio)
        assert time.monotonic() - began < (1.0 + BUSY_S) * crowding()
        assert one.video.screen.broken == 0
    await one.gone()


BUSY_S = 0.5


async def test_ports_that_a_nat_made(gateway: Gateway, studio: RawDevice, device: Make) -> None:
    """The SDP names ports that are nobody's: RTP and RTCP come from others, and are answered there."""
    async with device("one", room_system("8"), who=2, hz=520) as one:
        ours = one.describe().replace(f"m=audio {one.audio.port}", "m=audio 9").replace(
            f"m=video {one.video.port}", "m=video 11"
        )  # fmt: skip
        one.dialog, answer = await one.sip.invite(ours, room=ROOM)
        one.agree(ours, answer.partition("\r\n\r\n")[2], we_answered=False)
        await one._begun()
        await flows(one, studio)
        peers = [leg["peer"] for leg in await leg_facts(gateway, one)]
        assert peers == [["127.0.0.1", one.audio.port], ["127.0.0.1", one.video.port]]
        await until("RTCP too", lambda: one.audio.reports and one.video.reports, 6)
    await one.gone()


async def test_new_ports_by_reinvite(studio: RawDevice, device: Make) -> None:
    async with device("one", who=3, hz=540) as one:
        await one.call(ROOM)
        await flows(one, studio)
        one.audio.move()
        one.video.move()
        began = time.monotonic()
        await one.reoffer()
        await flows(one, studio)
        assert time.monotonic() - began < (1.0 + BUSY_S) * crowding()
    await one.gone()


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "srtp"])
async def test_new_ports_without_a_word(studio: RawDevice, device: Make, secure: bool) -> None:
    """A NAT forgot its mapping in mid-call: the same source is found again at its new port within a second or so."""
    sdp = with_crypto(lambda: crypto(1)) if secure else room_system()
    async with device("one", sdp, who=4, hz=560) as one:
        await one.call(ROOM)
        await flows(one, studio)
        one.audio.move()
        one.video.move()
        began = time.monotonic()
        await flows(one, studio, 8.0)
        assert time.monotonic() - began < (2.0 + BUSY_S) * crowding()
        assert not one.over.is_set()
    await one.gone()


class Thief:
    """Sends RTP to where a device sends it, from another port, and counts what it gets for it."""

    def __init__(self, line: Line, ssrc: int) -> None:
        self.line, self.ssrc, self.got = line, ssrc, 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)

    async def work(self, seconds: float) -> None:
        end, seq = time.monotonic() + seconds, self.line.seq + 500
        while time.monotonic() < end:
            seq += 1
            header = struct.pack(">BBHII", 0x80, self.line.pt, seq & 0xFFFF, self.line.ts + 90_000, self.ssrc)
            assert self.line.peer is not None
            self.socket.sendto(header + b"\x65" + b"\x88" * 150, self.line.peer)
            while True:
                try:
                    self.socket.recv(2048)
                except BlockingIOError:
                    break
                self.got += 1
            await asyncio.sleep(0.01)
        self.socket.close()


@pytest.mark.parametrize("knows_ssrc", [False, True], ids=["blind", "with its ssrc"])
async def test_nobody_takes_over(gateway: Gateway, studio: RawDevice, device: Make, knows_ssrc: bool) -> None:
    """After the lock: the thief is sent nothing, and what it sends is counted and never shown."""
    async with device("one", who=5, hz=580) as one:
        await one.call(ROOM)
        await flows(one, studio)
        broken, unreadable = studio.video.screen.broken, studio.video.screen.unreadable
        thieves = [Thief(line, line.ssrc if knows_ssrc else 0xBAD) for line in (one.audio, one.video)]
        await asyncio.gather(*(thief.work(1.5) for thief in thieves))
        assert [thief.got for thief in thieves] == [0, 0]
        await flows(one, studio)
        assert (studio.video.screen.broken, studio.video.screen.unreadable) == (broken, unreadable)
        assert studio.audio.ear.hears(one.hz)
        for leg in await leg_facts(gateway, one):
            assert set(leg["rejected"]) == {"foreign"}
    await one.gone()


async def test_a_thief_before_the_device(studio: RawDevice, device: Make) -> None:
    """Who sends first isn't believed for good: the address that the SDP names wins as soon as it is heard."""
    async with device("one", who=6, hz=600) as one:
        ours = one.describe()
        one.dialog, answer = await one.sip.invite(ours, room=ROOM)
        one.agree(ours, answer.partition("\r\n\r\n")[2], we_answered=False)
        thieves = [Thief(line, 0xBAD) for line in (one.audio, one.video)]
        await asyncio.gather(*(thief.work(0.3) for thief in thieves))
        await one._begun()
        await flows(one, studio)
    await one.gone()
