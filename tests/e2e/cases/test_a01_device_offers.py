"""A1: every device of the fixtures dials in and is dialled, with real media both ways through the running daemon."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from device_sdp import room_system
from raw_device import RawDevice
from running_gateway import Gateway
from sprop import with_sprop
from waiting import crowding, until
from whep_viewer import viewer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.e2e, pytest.mark.timeout(60)]

FOLDER = Path(__file__).parents[2] / "data" / "sdp"
ROOM, STUDIO, STUDIO_HZ = "theatre", 200, 700


@dataclass(frozen=True)
class Expected:
    """What must come out. ``mode`` None: no picture; ``sees`` False: a camera that takes none."""

    audio: str
    mode: int | None
    agent: str = ""
    notes: tuple[str, ...] = ()
    sees: bool = True
    encrypted: bool = False
    feedback: tuple[str, ...] = ("pli",)


CASES = {
    "polycom_group": Expected("G722", 1, "Polycom/RealPresence Group 500", feedback=("pli", "fir")),
    "polycom_vsx7000": Expected("G722", None, "Polycom VSX 7000", ("no_h264",)),
    "polycom_vsx6000a": Expected("G722", 0, "Polycom VSX 6000A", feedback=("info",)),
    "tandberg_c20": Expected("G722", 1, "TANDBERG/512 (TC3.1.3)"),
    "tandberg_e20": Expected("G722", 1, "TANDBERG/257 (TE2.2)", encrypted=True),
    "cisco_movi": Expected("G722", 1, "TANDBERG/772 (MCX 4.3.12)", feedback=("fir",)),
    "cisco_expressway": Expected("G722", 1, "TANDBERG/4352 (X8.7.3-b2bua-1.0)", encrypted=True),
    "cisco_cucm_immersive": Expected("G722", 0, "Cisco-CUCM10.5"),
    "cisco_webex": Expected("OPUS", 1, "Cisco/RoomOS"),
    "huawei_viewpoint_9030": Expected("G722", 0, "Huawei HD9030", feedback=("fir",)),
    "huawei_mc850": Expected("", 0, "Huawei MC850", ("audio_off",), feedback=("info",)),
    "microsoft_lync": Expected("G722", None, "UCCAPI/16.0", ("no_h264",), encrypted=True),
    "avaya_radvision": Expected("G722", 1, "Radvision Scopia XT"),
    "hikvision": Expected("", 0, "Hikvision", ("no_audio_codec",), sees=False, feedback=()),
    "axis": Expected("PCMA", 1, "AXIS", sees=False, feedback=()),
    "baresip": Expected("OPUS", 0, "baresip 1.0.0"),
}
DEVICES = dict.fromkeys(CASES, "")


def set_up(device: Callable[..., RawDevice], name: str) -> RawDevice:
    expected = CASES[name]
    camera = {"gop": 10_000, "in_band": frozenset()} if name == "axis" else {"gop": 10_000 if expected.feedback else 30}
    sdp = (FOLDER / f"{name}.sdp").read_text()
    if name == "axis":
        sdp = with_sprop(sdp)
    return device(
        name,
        sdp,
        who=10 + list(CASES).index(name),
        hz=400 + 20 * list(CASES).index(name),
        user_agent=expected.agent,
        obeys=frozenset(expected.feedback),
        info_status=200 if "info" in expected.feedback else 405,
        camera=camera,
    )


# What an answer says of the same: the device takes our offer's line or switches it off.
ANSWERED = {"no_h264": "video_off", "no_audio_codec": "audio_off"}


async def check(peer: RawDevice, studio: RawDevice, expected: Expected, *, answered: bool = False) -> None:
    """Picture and sound both ways, decoded, in what was agreed."""
    notes = await peer.notes()
    assert {ANSWERED.get(code, code) if answered else code for code in expected.notes} == set(notes), notes
    if expected.mode is None:
        assert not peer.has_video
    else:
        screen = studio.video.screen
        await until(f"the studio sees {peer.name}", lambda: screen.who == peer.who, 3, 0.02)
        before = screen.broken, screen.frames
        if expected.sees:
            await until(f"{peer.name} sees the studio", lambda: peer.video.screen.who == STUDIO, 3, 0.02)
        await until("it goes on", lambda: screen.frames >= before[1] + 8, 3, 0.02)
        assert screen.broken == before[0]
        assert screen.delay_ms < 300 * crowding()
        if expected.sees:
            assert peer.video.screen.broken == 0
            assert peer.video.mode == expected.mode
            kinds = peer.video.depacketizer.kinds
            assert kinds & {24, 28} if expected.mode == 1 else not kinds & {24, 25, 28, 29}, kinds
    if expected.audio:
        assert peer.audio.codec == expected.audio
        await until(f"the studio hears {peer.name}", lambda: studio.audio.ear.hears(peer.hz), 3)
        await until(f"{peer.name} hears the studio", lambda: peer.audio.ear.hears(STUDIO_HZ), 3)
    for line in peer.lines:
        if line is not None and line.codec:
            assert line.strays == 0
            assert line.encrypted is expected.encrypted


@pytest.mark.parametrize("name", CASES)
async def test_dialled_in(gateway: Gateway, studio: RawDevice, device: Callable[..., RawDevice], name: str) -> None:
    expected = CASES[name]
    async with set_up(device, name) as peer:
        await peer.call(ROOM)
        await check(peer, studio, expected)
        if expected.mode is not None:
            async with viewer(gateway, f"{name}/main") as browser:
                await until("a browser sees it", lambda: browser.screen.who == peer.who, 6, 0.05)
    await peer.gone()


@pytest.mark.parametrize("name", CASES)
async def test_dialled_out(gateway: Gateway, studio: RawDevice, device: Callable[..., RawDevice], name: str) -> None:
    expected = CASES[name]
    async with set_up(device, name) as peer:
        started = await gateway.api("POST", "/calls", {"target": name, "room": ROOM})
        await peer.take_call()
        await check(peer, studio, expected, answered=True)
        await gateway.api("DELETE", f"/sessions/{started['session']}")
        await until("it is told goodbye", peer.over.is_set, 3, 0.05)
    await peer.gone()


@pytest.mark.parametrize("name", ["polycom_group", "tandberg_e20"])
async def test_over_tcp(studio: RawDevice, device: Callable[..., RawDevice], name: str) -> None:
    peer = set_up(device, name)
    peer.transport = "tcp"
    async with peer:
        await peer.call(ROOM)
        await check(peer, studio, CASES[name])
    await peer.gone()


async def test_a_device_that_nobody_has_seen_before(studio: RawDevice, device: Callable[..., RawDevice]) -> None:
    """H.264 among things nobody knows, numbers twice, odd spacing: what is common is used."""
    sdp = room_system("127 8").replace("a=rtpmap:8 PCMA/8000", "a=rtpmap:127 L24/96000/8\r\na=rtpmap:8 pcma/8000")
    sdp = sdp.replace("m=video 2002 RTP/AVP ", "m=text 4000 RTP/AVP 98\r\nm=video 2002 RTP/AVP 120 121 ")
    sdp = sdp.replace("a=rtpmap:97 H264/90000", "a=rtpmap:120 AV9/90000\r\na=rtpmap:97 H264/90000")
    async with device("baresip", sdp, who=77, hz=500) as peer:
        await peer.call(ROOM)
        await check(peer, studio, Expected("PCMA", 1))


async def test_all_in_one_room(gateway: Gateway, device: Callable[..., RawDevice]) -> None:
    """Different modes, codecs and keys together: each sees one of the others and hears all of them but itself."""
    names = ("polycom_group", "tandberg_e20", "cisco_webex", "cisco_cucm_immersive", "polycom_vsx7000", "baresip")
    async with AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(set_up(device, name)) for name in names]
        for peer in peers:
            await peer.call("conference")
        whose = {peer.who for peer in peers if peer.has_video}
        for peer in peers:
            if peer.has_video:
                await until(
                    f"{peer.name} sees another",
                    lambda peer=peer: peer.video.screen.who in whose - {peer.who},
                    5,
                    0.05,
                )
        tones = {peer.hz for peer in peers}
        for peer in peers:
            await until(
                f"{peer.name} hears the others", lambda peer=peer: peer.audio.ear.tones(tones) == tones - {peer.hz}, 5
            )
        await asyncio.sleep(1)
        assert [peer.video.screen.broken for peer in peers if peer.has_video] == [0] * len(whose)
        notes = {one["name"]: one["notes"] for one in await gateway.sessions()}
        assert [name for name in names if notes[name]] == ["polycom_vsx7000"]


async def test_a_device_whose_media_restarts(studio: RawDevice, device: Callable[..., RawDevice]) -> None:
    """In mid-call another SSRC, other numbers and another clock: the studio sees and hears on, without an error."""
    async with set_up(device, "tandberg_c20") as peer:
        await peer.call(ROOM)
        await check(peer, studio, CASES["tandberg_c20"])
        gaps = studio.video.gaps, studio.audio.gaps
        for line in (peer.video, peer.audio):
            line.fresh_ssrc()
            line.seq, line.ts = line.seq + 20_000 & 0xFFFF, line.ts + 2**31 & 0xFFFFFFFF
        peer.show(**peer.camera)
        peer.audio.start(peer.hz)
        await asyncio.sleep(0.5)
        await check(peer, studio, CASES["tandberg_c20"])
        # a number left out says to a decoder of sound that something is missing
        assert (studio.video.gaps, studio.audio.gaps) in (gaps, (gaps[0], gaps[1] + 1))
