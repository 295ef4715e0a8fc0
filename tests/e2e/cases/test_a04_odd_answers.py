"""A4, A11: answers that don't fit the offer line by line, late offers, re-INVITEs without SDP."""

import re
from collections.abc import Callable

import pytest
from device_sdp import blocks, mirrored, room_system
from raw_device import RawDevice
from running_gateway import Gateway
from waiting import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.e2e, pytest.mark.timeout(60)]

DEVICES = {"one": ""}
ROOM, STUDIO, STUDIO_HZ = "theatre", 200, 700
Make = Callable[..., RawDevice]


async def both_ways(one: RawDevice, studio: RawDevice, *, video: bool = True) -> None:
    await until("the studio hears it", lambda: studio.audio.ear.hears(one.hz), 3)
    await until("it hears the studio", lambda: one.audio.ear.hears(STUDIO_HZ), 3)
    if video:
        await until("the studio sees it", lambda: studio.video.screen.who == one.who, 3, 0.02)
        await until("it sees the studio", lambda: one.video.screen.who == STUDIO, 3, 0.02)
        frames, broken = studio.video.screen.frames, studio.video.screen.broken
        await until("it goes on", lambda: studio.video.screen.frames > frames + 5, 2, 0.02)
        assert studio.video.screen.broken == broken


def parts(answer: str) -> list[str]:
    """Head and m-lines with what belongs to them."""
    return re.split(r"(?m)^(?=m=)", answer)


ANSWERS = {
    "a line fewer": lambda answer: "".join(parts(answer)[:2]),
    "a line more": lambda answer: answer + "m=application 3000 UDP/BFCP *\na=floorctrl:s-only\n",
    "two lines more": lambda answer: answer + "m=video 0 RTP/AVP 31\nm=application 0 RTP/AVP 100\n",
    "another order": lambda answer: "".join([parts(answer)[0], *reversed(parts(answer)[1:])]),
}


@pytest.mark.parametrize("case", ANSWERS)
async def test_an_answer_with_other_lines(gateway: Gateway, studio: RawDevice, device: Make, case: str) -> None:
    async with device("one", who=1, hz=500) as one:
        await gateway.api("POST", "/calls", {"target": "one", "room": ROOM})
        await one.take_call(lambda offer: ANSWERS[case](mirrored(offer, one.sdp)))
        await both_ways(one, studio, video=case != "a line fewer")
        if case == "a line fewer":
            assert "no_video_line" in await one.notes()
    await one.gone()


async def test_a_late_offer(gateway: Gateway, studio: RawDevice, device: Make) -> None:
    """INVITE without SDP: the gateway offers everything that it has, the ACK answers."""
    async with device("one", who=2, hz=520) as one:
        offer = await one.call_late(ROOM)
        assert [block.kind for block in blocks(offer)] == ["audio", "video"]
        assert {block.direction for block in blocks(offer)} == {"sendrecv"}
        assert {one.video.codec, one.audio.codec} == {"H264", "G722"}
        await both_ways(one, studio)
        assert (await one.facts())["state"] == "active"
    await one.gone()


async def test_a_reinvite_without_sdp(studio: RawDevice, device: Make) -> None:
    """The 200 repeats what was agreed, with the numbers in use and a version that fits."""
    async with device("one", room_system("8 101"), who=3, hz=540) as one:
        first = await one.call(ROOM)
        await both_ways(one, studio)
        pt = one.video.pt
        offer = await one.reoffer_late()
        assert blocks(offer)[1].pts[0] == pt
        assert [block.port for block in blocks(offer)][:2] == [block.port for block in blocks(first)][:2]
        assert {block.direction for block in blocks(offer)[:2]} == {"sendrecv"}
        await both_ways(one, studio)
        again = await one.reoffer()
        assert [block.port for block in blocks(again)] == [block.port for block in blocks(first)]
        await both_ways(one, studio)
    await one.gone()


async def test_an_offer_in_the_middle_changes_the_codec(studio: RawDevice, device: Make) -> None:
    """A re-INVITE that takes G.722 away: sound goes on in what is left."""
    async with device("one", room_system("9 8 101"), who=4, hz=560) as one:
        await one.call(ROOM)
        assert one.audio.codec == "G722"
        await both_ways(one, studio)
        await one.reoffer(sdp=room_system("8 101"))
        assert one.audio.codec == "PCMA"
        await both_ways(one, studio)
    await one.gone()
