"""A6: a viewer joins while a camera has been running for a while and makes one key frame in ten seconds."""

import asyncio
import time
from collections.abc import Callable

import pytest
from device_sdp import room_system
from raw_device import RawDevice
from waiting import crowding, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.e2e, pytest.mark.timeout(60)]

DEVICES = {"camera": "", "viewer": "", "ringer": ""}
ROOM = "theatre-6"
Make = Callable[..., RawDevice]
WITHIN_S = 0.3
# A busy machine may hold up the test itself: the best of so many joins counts.
ATTEMPTS = 4
SLOW_GOP = {"gop": 150, "fps": 15}

ANSWERS = {
    "pli": ("nack pli",),
    "fir": ("ccm fir",),
    "info": (),
    "nothing": (),
    "nothing although promised": ("nack pli", "ccm fir"),
    "fir although pli is promised too": ("nack pli", "ccm fir"),
}


@pytest.mark.parametrize("answers", ANSWERS)
async def test_the_picture_is_there_at_once(device: Make, answers: str) -> None:
    """Within 300 ms of the viewer's ACK, by what the camera answers to, else from the kept pictures; then live."""
    obeys = frozenset({answers.split()[0]} & {"pli", "fir", "info"})
    sdp = room_system(feedback=ANSWERS[answers])
    took_s = 9.0
    for _ in range(ATTEMPTS):
        async with (
            device("camera", sdp, who=1, obeys=obeys, camera=SLOW_GOP) as camera,
            device("viewer", who=2) as viewer,
        ):
            await camera.call(ROOM)
            await asyncio.sleep(1.6)
            before = camera.source.keyframes
            await viewer.call(ROOM)
            screen = viewer.video.screen
            await until("a picture", lambda seen=screen: seen.frames, 2, 0.005)
            took_s = min(took_s, screen.first_at - viewer.started)
            assert screen.who == 1
            await until("live", lambda seen=screen: seen.frames > 15 and seen.delay_ms < 250 * crowding(), 3, 0.02)
            assert screen.broken == 0
            if answers in ("pli", "fir", "info"):
                assert camera.source.keyframes > before, "the kept pictures are for those that don't answer"
        await camera.gone()
        await viewer.gone()
        if took_s < WITHIN_S * crowding():
            return
    raise AssertionError(f"the first picture took {took_s:.3f} s at best")


async def test_requests_are_repeated_until_the_key_frame_comes(device: Make) -> None:
    """The ladder: PLI, FIR, PLI with INFO ...; and nobody asks any more once it came."""
    async with (
        device("camera", who=3, obeys=frozenset(), camera=SLOW_GOP) as camera,
        device("viewer", who=4) as viewer,
    ):
        await camera.call(ROOM)
        await asyncio.sleep(0.8)
        began = time.monotonic()
        video = camera.video
        video.asked.clear()
        camera.requests.clear()
        await viewer.call(ROOM)
        await until("INFO too", lambda: camera.asked_of("info"), 4, 0.02)
        kinds = [what for at, what in video.asked if at >= began]
        assert kinds[:3] == ["pli", "fir", "pli"], kinds
        gaps = [later - sooner for (sooner, _), (later, _) in zip(video.asked, video.asked[1:], strict=False)]
        assert all(0.3 < gap < 2.3 for gap in gaps), gaps
        camera.obeys = frozenset({"pli", "fir", "info"})
        keyframes = camera.source.keyframes
        await until("it comes", lambda: camera.source.keyframes > keyframes, 3, 0.02)
        await asyncio.sleep(0.3)
        count = len(video.asked)
        await asyncio.sleep(2.5)
        assert len(video.asked) == count, "it came, and is still asked for"
        assert viewer.video.screen.who == 3
    await camera.gone()


async def test_a_lost_picture_is_asked_for(device: Make) -> None:
    """Packets that never come: the viewer's decoder sees nothing broken, for the gap is closed by a key frame."""
    async with (
        device("camera", who=5, camera=SLOW_GOP) as camera,
        device("viewer", who=6) as viewer,
    ):
        await camera.call(ROOM)
        await viewer.call(ROOM)
        screen = viewer.video.screen
        await until("a picture", lambda: screen.frames > 5, 3, 0.02)
        keyframes = camera.source.keyframes
        camera.video.lose = 4
        await until("a key frame", lambda: camera.source.keyframes > keyframes, 2, 0.02)
        frames = screen.frames
        await until("it goes on", lambda: screen.frames > frames + 8, 2, 0.02)
        assert screen.broken == 0
    await camera.gone()


async def test_a_device_that_asks_by_info_is_given_a_key_frame(device: Make) -> None:
    """The other way round: picture_fast_update and PLI from the viewer reach the camera that it is shown."""
    update = (
        "<media_control><vc_primitive><to_encoder><picture_fast_update/></to_encoder></vc_primitive></media_control>"
    )
    async with device("camera", who=7, camera=SLOW_GOP) as camera, device("viewer", who=8) as viewer:
        await camera.call(ROOM)
        await viewer.call(ROOM)
        await until("a picture", lambda: viewer.video.screen.frames > 5, 3, 0.02)
        await asyncio.sleep(0.6)
        keyframes = camera.source.keyframes
        kind = "application/media_control+xml"
        await viewer.sip.transact("INFO", viewer.dialog, content=update, content_type=kind)
        await until("a key frame for INFO", lambda: camera.source.keyframes > keyframes, 1, 0.01)
        await asyncio.sleep(0.6)
        keyframes = camera.source.keyframes
        viewer.video.ask(viewer.video.heard_ssrc)
        await until("a key frame for PLI", lambda: camera.source.keyframes > keyframes, 1, 0.01)
    await camera.gone()
