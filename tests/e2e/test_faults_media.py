"""Malformed RTP, RTCP, STUN and DTLS on the media ports of live calls: nobody's media suffers, and it is counted."""

import asyncio
import random
import re
import struct
from pathlib import Path

import aiohttp
import pytest
from media_peer import H264, SPS, Line, MediaPeer, rates, rtp
from ports import free_port
from running_gateway import Gateway
from stock import stock
from waiting import until

pytestmark = pytest.mark.e2e


def malformed_rtp(rng: random.Random) -> list[bytes]:
    """Headers that lie and payloads that aren't what the payload type says (RFC 3550 5.1, RFC 6184 5)."""
    base = rtp(H264, rng.randrange(65536), rng.randrange(1 << 32), rng.randrange(1 << 32), b"")
    found = [
        base[:n]
        for n in range(1, 12)  # cut short
    ]
    found += [bytes([0x40]) + base[1:], bytes([0xC0]) + base[1:]]  # versions 1 and 3
    found += [bytes([0x8F]) + base[1:]]  # 15 CSRCs that aren't there
    found += [bytes([0xA0]) + base[1:] + b"\xff"]  # more padding than packet
    found += [bytes([0xA0]) + base[1:] + b"\x00"]  # padding of nothing
    found += [bytes([0x90]) + base[1:] + b"\xbe\xde\xff\xff"]  # an extension of 256 KiB
    found += [bytes([0x90]) + base[1:] + b"\xbe\xde\x00\x01\xff\xff\xff\xff"]
    for payload in (
        b"",
        b"\x1c",  # FU-A without its header
        b"\x7c\xc5",  # both first and last
        b"\x7c\x45",  # an end without a beginning
        b"\x78\xff\xff\x65",  # STAP-A with a unit longer than it
        b"\x78\x00\x00",
        b"\x7d\x00\x00\x00",  # FU-B
        b"\x7e" + bytes(5),
        b"\x00" * 3,
        b"\xff" * 1400,
        b"\x67",  # SPS of nothing
        b"\x67" + bytes(rng.randrange(256) for _ in range(30)),
        SPS[:5],
    ):
        found.append(base + payload)
    return found


def malformed_rtcp(rng: random.Random) -> list[bytes]:
    """RFC 3550 6.4, RFC 4585 6: lengths and counts that lie, feedback of nothing."""
    found = []
    for kind in (200, 201, 202, 203, 204, 205, 206, 207, 210):
        ssrc = struct.pack("!I", rng.randrange(1 << 32))
        found.append(struct.pack("!BBH", 0x80, kind, 0))
        found.append(struct.pack("!BBH", 0x9F, kind, 1) + ssrc)  # 31 reports in four bytes
        found.append(struct.pack("!BBH", 0x81, kind, 0xFFFF) + ssrc)
        found.append(struct.pack("!BBH", 0xA1, kind, 1) + b"\xff\xff\xff\xff")
    found.append(struct.pack("!BBHII", 0x81, 205, 2, 1, 2))  # NACK of nothing
    found.append(struct.pack("!BBHII", 0x81, 205, 340, 1, 2) + b"\x00\x00\xff\xff" * 338)  # NACK of everything
    found.append(struct.pack("!BBHII", 0x84, 206, 3, 1, 0) + b"\xff\xff\xff\xff")  # FIR for another
    found.append(struct.pack("!BBHII", 0x8F, 206, 4, 1, 0) + b"REMB\xff\xff\xff\xff")
    found.append(struct.pack("!BBH", 0x81, 203, 1) + b"\x00\x00\x00\x63")  # BYE of a stranger
    return found


def malformed_ice_and_dtls(rng: random.Random) -> list[bytes]:
    """RFC 8489 5, RFC 6347 4.1."""
    cookie = b"\x21\x12\xa4\x42"
    found = [b"\x00", b"\x00\x01", b"\x00\x01\x00\x00" + cookie, b"\x00\x01\xff\xff" + cookie + bytes(12)]
    found.append(b"\x00\x01\x00\x08" + cookie + bytes(12) + b"\x00\x06\xff\xff" + bytes(4))  # USERNAME of 64 KiB
    found.append(b"\x01\x01\x00\x08" + cookie + bytes(12) + b"\x00\x20\x00\x04" + bytes(4))
    for kind in range(20, 28):
        found.append(bytes([kind]))
        found.append(bytes([kind, 254, 253]) + bytes(8) + b"\xff\xff" + bytes(3))
        found.append(bytes([kind, 254, 253]) + bytes(8) + b"\x00\x20" + bytes(rng.randrange(256) for _ in range(32)))
    found += [bytes(rng.randrange(256) for _ in range(rng.randrange(1, 1400))) for _ in range(60)]
    return found


def garbage(seed: int) -> list[bytes]:
    rng = random.Random(seed)
    found = malformed_rtp(rng) + malformed_rtcp(rng) + malformed_ice_and_dtls(rng)
    rng.shuffle(found)
    return found


async def rejected(gateway: Gateway) -> float:
    found = re.search(r"^orbridge_engine_rejected_total (\S+)$", await gateway.metrics(), re.MULTILINE)
    assert found is not None
    return float(found[1])


def faults(gateway: Gateway) -> list[object]:
    """Log lines that mean a fault of ours."""
    names = ("leg.faulted", "handler.failed", "callback.failed", "request.failed", "unparsed")
    return [line for line in gateway.log_lines() if line["event"] in names or line.get("level") == "error"]


async def test_on_the_ports_of_sip_calls(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path / "gateway")
    one, other = MediaPeer(gateway.sip, "or1"), MediaPeer(gateway.sip, "or2")
    gateway.device("or-1", one.uri, "theatre")
    gateway.device("or-2", other.uri, "theatre")
    async with one, other, gateway:
        await one.call("theatre")
        await other.call("theatre")
        everywhere = (one.audio, one.video, other.audio, other.video)
        await until("both get the other's media", lambda: all(line.total > 20 for line in everywhere))
        healthy = await rates(everywhere, 1.5)
        assert healthy[0] == pytest.approx(50, abs=6)
        assert healthy[1] == pytest.approx(25, abs=4), "a packet a picture, its parameter sets in it"

        stranger = await Line(free_port()).open()
        before = await rejected(gateway)

        async def attack() -> None:
            for seed in range(30):
                for data in garbage(seed):
                    for line in (one.audio, one.video):
                        # from the device's own address and port, and from somewhere else; to the RTCP port as well
                        line.send(data)
                        stranger.gateway = line.gateway
                        stranger.send(data)
                        stranger.gateway = (line.gateway[0], line.gateway[1] + 1)
                        stranger.send(data)
                await asyncio.sleep(0.1)

        attacking = asyncio.create_task(attack())
        during = await rates(everywhere, 3.0)
        await attacking
        after = await rates(everywhere, 1.5)
        for what, found in (("during", during), ("after", after)):
            # the attacked one hears the others, and what the others hear of it goes on (it may have lost some)
            assert found[0] == pytest.approx(50, abs=8), what
            assert found[1] == pytest.approx(25, abs=5), what
            assert found[2] == pytest.approx(50, abs=8), what
            assert found[3] > 12, what
        assert [session["state"] for session in await gateway.sessions()] == ["active", "active"]
        assert await rejected(gateway) - before > 1000
        lines = gateway.log_lines("leg.rejected")
        assert lines
        # at most one a second for each leg and cause, over not more than ten seconds
        assert len(lines) < 2 * 7 * 10
        assert faults(gateway) == []
        stranger.close()
        await one.hangup()
        await other.hangup()


async def test_on_the_port_of_a_browsers_connection(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path / "gateway")
    device = MediaPeer(gateway.sip, "or1")
    gateway.device("or-1", device.uri, "theatre")
    async with (
        device,
        gateway,
        aiohttp.ClientSession(gateway.url) as http,
        stock(http) as publisher,  # type: ignore[arg-type]
    ):
        await device.call("theatre")
        await publisher.publish("/rooms/theatre/whip?name=dr-li")
        await until("the publisher is in", lambda: publisher.connected)
        await until("the device gets pictures", lambda: device.video.total > 50, within_s=15)
        (session,) = [found for found in await gateway.sessions() if found["adapter"] == "webrtc"]
        legs = (await gateway.api("GET", f"/sessions/{session['id']}"))["stats"]["legs"]
        port = legs[0]["port"]
        stranger = await Line(free_port()).open()
        stranger.gateway = ("127.0.0.1", port)
        ice = publisher.pc.getTransceivers()[0].sender.transport.transport
        before = await rejected(gateway)
        healthy = (await rates([device.video], 1.5))[0]
        assert healthy > 20
        for seed in range(20):
            for data in garbage(seed):
                stranger.send(data)
                # From the publisher's own address, but not what looks like DTLS: its own alert may end its session.
                if data and not 20 <= data[0] <= 63:
                    await ice._connection.send(data)
            await asyncio.sleep(0.05)
        after = (await rates([device.video], 1.5))[0]
        assert after > 0.6 * healthy
        assert publisher.connected
        assert sorted(found["state"] for found in await gateway.sessions()) == ["active", "active"]
        assert await rejected(gateway) - before > 500
        assert faults(gateway) == []
        stranger.close()
        await device.hangup()


async def test_before_a_browser_is_connected(tmp_path: Path) -> None:
    """Garbage and a flood for a session whose ICE hasn't begun; then its owner connects as if nothing had been."""
    offer = (Path(__file__).parents[1] / "data" / "webrtc" / "chromium_sendonly.sdp").read_text()
    async with Gateway(tmp_path / "gateway") as gateway, aiohttp.ClientSession(gateway.url) as http:
        headers = {"Content-Type": "application/sdp"}
        async with http.post("/rooms/theatre/whip?name=a", data=offer, headers=headers) as response:
            assert response.status == 201
            answer = await response.text()
        found = re.search(r"^a=candidate:\S+ 1 udp \d+ 127\.0\.0\.1 (\d+) typ host", answer, re.MULTILINE)
        assert found is not None, answer
        stranger = await Line(free_port()).open()
        stranger.gateway = ("127.0.0.1", int(found[1]))
        for seed in range(20):
            for data in garbage(seed):
                stranger.send(data)
            await asyncio.sleep(0.02)
        assert (await gateway.api("GET", "/status"))["ready"]
        async with stock(http) as publisher:  # type: ignore[arg-type]
            await publisher.publish("/rooms/theatre/whip?name=b")
            await until("another one gets in", lambda: publisher.connected)
        assert faults(gateway) == []
        stranger.close()
