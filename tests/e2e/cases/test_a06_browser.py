"""A6 for a browser: a WHEP player of a camera that has been running for a while sees it as soon as it is connected."""

import asyncio
import time
from collections.abc import Callable

import pytest
from device_sdp import room_system
from raw_device import RawDevice
from running_gateway import Gateway
from waiting import crowding, until
from whep_viewer import viewer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.e2e, pytest.mark.timeout(60)]

DEVICES = {"camera": ""}
# From DTLS done to a decoded picture; aiortc's own jitter buffer and a busy machine are in it.
WITHIN_S = 0.4
ATTEMPTS = 4


@pytest.mark.parametrize("obeys", ["pli", "nothing"])
async def test_a_player_sees_the_camera_at_once(gateway: Gateway, device: Callable[..., RawDevice], obeys: str) -> None:
    feedback = ("nack pli",) if obeys == "pli" else ()
    sdp, slow = room_system(feedback=feedback), {"gop": 150, "fps": 15}
    async with device("camera", sdp, who=1, obeys=frozenset({obeys}), camera=slow) as camera:
        await camera.call("theatre-6")
        await asyncio.sleep(1.6)
        took_s = 9.0
        for _ in range(ATTEMPTS):
            async with viewer(gateway, "camera/main") as browser:
                await until("it is connected", lambda seen=browser: seen.client.connected, 5, 0.005)
                connected = time.monotonic()
                await until("a picture", lambda seen=browser: seen.screen.frames, 3, 0.005)
                took_s = min(took_s, max(browser.screen.first_at - connected, 0.0))
                await until("live", lambda seen=browser: seen.screen.who == 1 and seen.screen.delay_ms < 400, 4, 0.02)
            if took_s < WITHIN_S * crowding():
                return
        raise AssertionError(f"the first picture took {took_s:.3f} s at best")
