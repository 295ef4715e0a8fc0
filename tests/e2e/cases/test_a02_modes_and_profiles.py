"""A2, A3, A5: packetization modes, profiles and parameter sets: whatever one side sends, the other decodes."""

import asyncio
from collections.abc import Callable

import pytest
from device_sdp import room_system
from raw_device import RawDevice
from running_gateway import Gateway
from sprop import with_sprop
from waiting import until
from whep_viewer import guest, viewer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.e2e, pytest.mark.timeout(60)]

DEVICES = {"one": "", "other": ""}
ROOM = "laboratory"
LARGE = {"width": 640, "height": 352, "quality": 14}
Make = Callable[..., RawDevice]


async def sees(viewer: RawDevice, shown: RawDevice, within_s: float = 3.0) -> None:
    """The picture arrives and goes on without anything that FFmpeg refuses."""
    screen = viewer.video.screen
    await until(f"{viewer.name} sees {shown.name}", lambda: screen.who == shown.who, within_s, 0.02)
    frames, broken = screen.frames, screen.broken
    await until("it goes on", lambda: screen.frames >= frames + 8, 3, 0.02)
    assert screen.broken == broken
    assert screen.unreadable == 0


@pytest.mark.parametrize("second", [(0,), (1,), (0, 1), (1, 0), ()], ids=["0", "1", "0+1", "1+0", "absent"])
@pytest.mark.parametrize("first", [(0,), (1,)], ids=["0", "1"])
async def test_modes(device: Make, first: tuple[int, ...], second: tuple[int, ...]) -> None:
    """Large NAL units: in mode 0 a packet each, in mode 1 fragments; each side gets what it agreed on."""
    sdp = room_system(modes=second or (0,))
    if not second:
        sdp = sdp.replace("packetization-mode=0;", "")
    whole = {**LARGE, "max_nal_bytes": 0}
    async with (
        device("one", room_system(modes=first), who=1, hz=500, camera=whole) as one,
        device("other", sdp, who=2, hz=600, camera=whole) as other,
    ):
        await one.call(ROOM)
        await other.call(ROOM)
        await sees(one, other)
        await sees(other, one)
        for peer in (one, other):
            parts = peer.video.depacketizer
            if peer.video.mode == 1:
                assert 28 in parts.kinds
                assert parts.largest <= 1400
            else:
                assert not parts.kinds & {24, 25, 26, 27, 28, 29}, parts.kinds
                assert parts.largest > 1500
        assert one.video.mode == first[0]
        assert other.video.mode == max(second, default=0)


async def test_a_recommended_nal_size_is_kept(device: Make) -> None:
    """``max-rcmd-nalu-size`` below what a packet holds; above it (Cisco's 3133440) it says nothing."""
    small = room_system(modes=(1,), more="max-rcmd-nalu-size=700")
    huge = room_system(modes=(1,), more="max-rcmd-nalu-size=3133440")
    async with (
        device("one", small, who=1, camera=LARGE) as one,
        device("other", huge, who=2, camera=LARGE) as other,
    ):
        await one.call(ROOM)
        await other.call(ROOM)
        await sees(one, other)
        await sees(other, one)
        assert one.video.depacketizer.largest <= 702
        assert 1000 < other.video.depacketizer.largest <= 1400


@pytest.mark.parametrize(
    ("profile", "encoder"),
    [("42001f", "baseline"), ("42e01f", "baseline"), ("420016", "baseline"), ("4d001f", "main"), ("64001f", "high")],
)
async def test_profiles_reach_a_browser(gateway: Gateway, device: Make, profile: str, encoder: str) -> None:
    sdp = room_system(profile=profile)
    async with device("one", sdp, who=3, camera={"profile": encoder}) as one:
        await one.call(ROOM)
        async with viewer(gateway, "one/main") as browser:
            await until("the browser sees it", lambda: browser.screen.who == 3, 6, 0.05)
            frames = browser.screen.frames
            await until("it goes on", lambda: browser.screen.frames > frames + 8, 3)


@pytest.mark.parametrize("mode", [0, 1])
async def test_a_browsers_picture_reaches_a_device(gateway: Gateway, device: Make, mode: int) -> None:
    """WHIP in, as aiortc's encoder makes it; sound is encoded anew from Opus to G.722."""
    async with device("one", room_system(modes=(mode,)), who=3, hz=500) as one:
        await one.call("surgery")
        async with guest(gateway, "surgery"):
            screen = one.video.screen
            await until("the device sees the browser", lambda: screen.frames > 20, 8, 0.05)
            await until("and hears it", lambda: one.audio.ear.hears(440), 5)
            assert one.audio.codec == "G722"
            assert (screen.width, screen.height, screen.broken) == (320, 240, 0)
            kinds = one.video.depacketizer.kinds
            assert not kinds & {24, 28} if mode == 0 else kinds & {24, 28}
    await one.gone()


GOOD = "profile-level-id=42801f;packetization-mode=1;max-mbps=108000;max-fs=3600"
ODD = {
    "profile-level-id too short": f"a=fmtp:97 {GOOD.replace('42801f', '42801')}",
    "profile-level-id too long": f"a=fmtp:97 {GOOD.replace('42801f', '42801f00')}",
    "no hex at all": f"a=fmtp:97 {GOOD.replace('42801f', 'normal')}",
    "upper case hex": f"a=fmtp:97 {GOOD.replace('42801f', '42801F')}",
    "upper case names": f"a=fmtp:97 {GOOD.upper()}",
    "spaces": "a=fmtp:97   profile-level-id = 42801f ; packetization-mode = 1 ;  max-mbps=108000; max-fs=3600 ; ",
    "names without values": f"a=fmtp:97 {GOOD};sprop-interleaving-depth;;max-br=;x",
    "fmtp twice": f"a=fmtp:97 {GOOD}\r\na=fmtp:97 packetization-mode=1",
    "mapped twice": f"a=fmtp:97 {GOOD}\r\na=rtpmap:97 H264/90000",
    "mapped to two things": f"a=fmtp:97 {GOOD}\r\na=rtpmap:97 VP8/90000",
    "no fmtp": "a=recvonlyish",
    "not base64 in sprop": f"a=fmtp:97 {GOOD};sprop-parameter-sets=!!!,%%%",
    "numbers out of range": f"a=fmtp:97 {GOOD};max-fps=99999999999999;max-dpb=-1",
}


@pytest.mark.parametrize("case", ODD)
async def test_odd_parameters(gateway: Gateway, studio: RawDevice, device: Make, case: str) -> None:
    """A3. The picture comes through, and a case is told of once in the log at most."""
    sdp = room_system("8", modes=(1,)).replace(
        "a=fmtp:97 profile-level-id=42801f;packetization-mode=1;max-mbps=108000;max-fs=3600", ODD[case]
    )
    assert ODD[case] in sdp
    before = len(gateway.log_lines("sdp.tolerated"))
    async with device("one", sdp, who=4) as one:
        await one.call("theatre")
        await sees(studio, one)
        await sees(one, studio)
        told = [line["problem"] for line in gateway.log_lines("sdp.tolerated")[before:]]
        assert len(told) == len(set(told)), told
    await one.gone()


IN_BAND = {
    "both in sprop": frozenset(),
    "sps in sprop": frozenset({8}),
    "pps in sprop": frozenset({7}),
}


@pytest.mark.parametrize("case", IN_BAND)
async def test_parameter_sets_in_the_description_only(studio: RawDevice, device: Make, case: str) -> None:
    """A5. The first picture decodes although the stream never has what the description says."""
    camera = {"in_band": IN_BAND[case]}
    async with device("one", with_sprop(room_system()), who=5, camera=camera) as one:
        await one.call("theatre")
        await sees(studio, one)
    await one.gone()


async def test_parameter_sets_change_in_the_stream(studio: RawDevice, device: Make) -> None:
    """A5. Another resolution in mid-call: no decoder error, the new picture within a second."""
    async with device("one", who=6) as one:
        await one.call("theatre")
        await sees(studio, one)
        broken = studio.video.screen.broken
        for width, height in ((640, 352), (320, 192)):
            one.show(width=width, height=height)
            await until("the new size", lambda w=width: studio.video.screen.width == w, 1.0, 0.02)
            await sees(studio, one)
        assert studio.video.screen.broken == broken
    await one.gone()


async def test_parameter_sets_change_in_a_new_description(studio: RawDevice, device: Make) -> None:
    """A5. A camera that tells its sets in SDP only is switched over by a re-INVITE."""
    async with device("one", with_sprop(room_system()), who=7, camera={"in_band": frozenset()}) as one:
        await one.call("theatre")
        await sees(studio, one)
        await one.reoffer(sdp=with_sprop(room_system(), width=640, height=352))
        one.show(width=640, height=352, in_band=frozenset())
        await until("the new size", lambda: studio.video.screen.width == 640, 1.0, 0.02)
        await sees(studio, one)
    await one.gone()


async def test_a_picture_that_no_packet_holds(device: Make) -> None:
    """Mode 0 has no fragments: above 64 kB a picture is left out, with all that builds on it; a smaller one goes on."""
    huge = {"width": 1280, "height": 720, "fps": 5, "quality": 10, "noise": 90, "max_nal_bytes": 0}
    async with (
        device("one", who=8, camera=huge) as one,
        device("other", room_system(modes=(0,)), who=9) as other,
    ):
        await one.call(ROOM)
        await other.call(ROOM)
        await until("the other way", lambda: one.video.screen.who == 9, 3, 0.02)
        await asyncio.sleep(1)
        assert other.video.packets == 0
        one.show()
        await sees(other, one)
        assert other.video.screen.broken == 0
