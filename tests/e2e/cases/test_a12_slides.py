"""A12, as far as media goes: a device's second video line is a second stream, shown while something comes on it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from device_media import Camera
from raw_device import RawDevice
from running_gateway import Gateway
from waiting import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.e2e, pytest.mark.timeout(60)]

FOLDER = Path(__file__).parents[2] / "data" / "sdp"
DEVICES = {"tandberg_c20": "", "cisco_movi": ""}
ROOM, STUDIO, SLIDES = "theatre", 200, 90
Make = Callable[..., RawDevice]


@pytest.mark.parametrize("name", DEVICES)
async def test_slides_come_and_go(gateway: Gateway, studio: RawDevice, device: Make, name: str) -> None:
    """Who has one line for pictures sees the slides while there are any, and the camera before and after."""
    async with device(name, (FOLDER / f"{name}.sdp").read_text(), who=1) as one:
        await one.call(ROOM)
        screen = studio.video.screen
        await until("the camera", lambda: screen.who == 1, 3, 0.02)
        slides = one.lines[3]
        assert slides is not None
        assert slides.codec == "H264"
        for _ in range(2):
            slides.start(Camera(SLIDES, fps=5, max_nal_bytes=0 if slides.mode else 1200))
            await until("the slides", lambda: screen.who == SLIDES, 3, 0.02)
            assert (await one.facts())["streams"] == {"main": f"{name}/main", "content": f"{name}/content"}
            slides.stop()
            await until("the camera again", lambda: screen.who == 1, 8, 0.05)
        assert screen.broken == 0
    await one.gone()


async def test_slides_go_to_a_device_that_has_a_line_for_them(studio: RawDevice, device: Make) -> None:
    """Camera on one line and slides on the other, at the same time; who shares isn't shown its own."""
    movi, c20 = ((FOLDER / f"{name}.sdp").read_text() for name in ("cisco_movi", "tandberg_c20"))
    async with device("cisco_movi", movi, who=2) as sharing, device("tandberg_c20", c20, who=3) as looking:
        await sharing.call("elsewhere")
        await looking.call("elsewhere")
        slides, shown = sharing.lines[3], looking.lines[3]
        assert slides is not None
        assert shown is not None
        slides.start(Camera(SLIDES, fps=5))
        await until("the slides", lambda: shown.screen.who == SLIDES, 3, 0.02)
        await until("the camera beside them", lambda: looking.video.screen.who == 2, 3, 0.02)
        await until("the other camera", lambda: sharing.video.screen.who == 3, 3, 0.02)
        assert slides.screen.frames == 0
        assert shown.screen.seen == {SLIDES}
        assert looking.video.screen.seen == {2}
