"""A11: a device that is called without a description and offers its own: its 200 offers, our ACK answers."""

from collections.abc import Callable

import pytest
from device_sdp import blocks, room_system
from raw_device import RawDevice
from rawpeer import body
from running_gateway import Gateway
from test_a04_odd_answers import both_ways

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.e2e, pytest.mark.timeout(60)]

DEVICES = {"one": 'profile = "late-offer"', "secret": 'profile = "late-offer"\nsrtp = "mandatory"'}
ROOM = "theatre"
Make = Callable[..., RawDevice]


async def test_the_device_offers(gateway: Gateway, studio: RawDevice, device: Make) -> None:
    async with device("one", who=1, hz=500) as one:
        await gateway.api("POST", "/calls", {"target": "one", "room": ROOM})
        answer = await one.take_call_late()
        assert [block.kind for block in blocks(answer)] == ["audio", "video"]
        assert {block.direction for block in blocks(answer)} == {"sendrecv"}
        assert (one.audio.codec, one.video.codec, one.video.mode) == ("G722", "H264", 1)
        await both_ways(one, studio)
        assert (await one.facts())["state"] == "active"
        assert await one.notes() == {}
        # what follows goes as in any other call
        again = await one.reoffer(sdp=room_system("8 101"))
        assert [block.port for block in blocks(again)] == [block.port for block in blocks(answer)]
        assert one.audio.codec == "PCMA"
        await both_ways(one, studio)
    await one.gone()


async def test_our_hold_offers_what_was_agreed(gateway: Gateway, studio: RawDevice, device: Make) -> None:
    async with device("one", who=2, hz=520) as one:
        await gateway.api("POST", "/calls", {"target": "one", "room": ROOM})
        answer = await one.take_call_late()
        await both_ways(one, studio)
        session = (await one.facts())["id"]
        await gateway.api("PUT", f"/sessions/{session}/hold")
        offer = body(await one.sip.wait("INVITE "))
        assert [(block.kind, block.port) for block in blocks(offer)] == [
            (block.kind, block.port) for block in blocks(answer)
        ]
        await gateway.api("DELETE", f"/sessions/{session}/hold")
        await one.sip.wait("INVITE ")
        await both_ways(one, studio)
    await one.gone()


async def test_an_offer_of_sound_only(gateway: Gateway, studio: RawDevice, device: Make) -> None:
    async with device("one", room_system(video=False), who=3, hz=540) as one:
        await gateway.api("POST", "/calls", {"target": "one", "room": ROOM})
        assert [block.kind for block in blocks(await one.take_call_late())] == ["audio"]
        await both_ways(one, studio, video=False)
        assert "no_video_line" in await one.notes()
    await one.gone()


@pytest.mark.parametrize(
    ("name", "said"),
    [("one", "no sound: the device offers only X-ALIEN"), ("secret", "no sound: the device offers no encryption")],
)
async def test_an_offer_that_cant_be_taken_ends_the_call_with_the_reason(
    gateway: Gateway, device: Make, name: str, said: str
) -> None:
    """pjsip ends such a call by itself, with an ACK that answers nothing."""
    text = room_system()
    if name == "one":
        for codec in ("G722", "PCMA", "PCMU", "H264"):
            text = text.replace(f" {codec}/", " X-ALIEN/")
        text = text.replace("RTP/AVP 9 8 0 101", "RTP/AVP 97").replace("a=rtpmap:101", "a=rtpmap:97")
        text = text.replace("telephone-event", "X-ALIEN")
    async with device(name, text, who=4) as one:
        started = await gateway.api("POST", "/calls", {"target": name, "room": ROOM})
        invite = await one.sip.wait("INVITE ")
        one.sip.reply(invite, 200, "OK", sdp=one.describe())
        await one.over.wait()
        await one.gone()
    (closed,) = [line for line in gateway.log_lines("session.closed") if line["session"] == started["session"]]
    assert closed["reason"] == "no_common_codec", closed
    assert closed["text"].startswith(said)
