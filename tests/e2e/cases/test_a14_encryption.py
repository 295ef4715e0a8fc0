"""A14: SRTP by policy, with libsrtp on the other side: media both ways, or refused with the reason."""

from collections.abc import Callable

import pytest
from device_rtp import SUITES
from device_sdp import blocks, crypto, room_system, with_crypto
from raw_device import RawDevice
from rawpeer import status
from running_gateway import Gateway
from waiting import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.e2e, pytest.mark.timeout(60)]

DEVICES = {"off": 'srtp = "off"', "optional": 'srtp = "optional"', "mandatory": 'srtp = "mandatory"'}
ROOM, STUDIO, STUDIO_HZ = "theatre", 200, 700
Make = Callable[..., RawDevice]


async def check(one: RawDevice, studio: RawDevice, gateway: Gateway, *, encrypted: bool) -> None:
    """Sound and picture both ways, RTCP both ways, and nothing that either side couldn't decrypt."""
    await until("the studio sees it", lambda: studio.video.screen.who == one.who, 3, 0.02)
    await until("it sees the studio", lambda: one.video.screen.who == STUDIO, 3, 0.02)
    await until("the studio hears it", lambda: studio.audio.ear.hears(one.hz), 3)
    await until("it hears the studio", lambda: one.audio.ear.hears(STUDIO_HZ), 3)
    await until("RTCP comes", lambda: one.audio.reports and one.video.reports, 6)
    legs = (await gateway.api("GET", f"/sessions/{(await one.facts())['id']}"))["stats"]["legs"]
    for line, leg in zip((one.audio, one.video), legs, strict=True):
        assert line.encrypted is encrypted
        assert leg["secure"] is encrypted
        assert leg["rejected"] == {}
        assert line.undecrypted == 0


OFFERS = {
    "tag 1": lambda: crypto(1),
    "tag 0": lambda: crypto(0, tail="|2^48"),
    "2^31 and an MKI": lambda: crypto(3, tail="|2^31"),
    "the alternatives of a Tandberg E20": lambda: (
        crypto(0, tail="|2^48") + crypto(1, tail="|2^48 UNENCRYPTED_SRTCP") + crypto(2, "AES_CM_128_HMAC_SHA1_32")
    ),
    "UNENCRYPTED_SRTCP first": lambda: crypto(1, tail=" UNENCRYPTED_SRTCP") + crypto(2),
    "an unknown suite first": lambda: crypto(1, "AES_192_CM_HMAC_SHA1_80") + crypto(2),
    **{suite: lambda suite=suite: crypto(7, suite) for suite in SUITES},
}


@pytest.mark.parametrize("proto", ["RTP/AVP", "RTP/SAVP"])
@pytest.mark.parametrize("case", OFFERS)
async def test_offers(gateway: Gateway, studio: RawDevice, device: Make, case: str, proto: str) -> None:
    """RFC 4568 on RTP/SAVP, RFC 8643 on RTP/AVP: the first line that can be done is taken, with its tag."""
    policy = "mandatory" if proto == "RTP/SAVP" else "optional"
    async with device(policy, with_crypto(OFFERS[case], proto), who=1, hz=500) as one:
        await one.call(ROOM)
        await check(one, studio, gateway, encrypted=True)
    await one.gone()


@pytest.mark.parametrize(
    ("policy", "proto", "make", "why"),
    [
        ("off", "RTP/SAVP", lambda: crypto(1), "srtp is off"),
        ("mandatory", "RTP/AVP", lambda: "", "srtp is mandatory"),
        ("mandatory", "RTP/AVP", lambda: crypto(1, "AES_192_CM_HMAC_SHA1_80"), "AES_192_CM_HMAC_SHA1_80"),
        ("mandatory", "RTP/SAVP", lambda: crypto(1, tail=" UNENCRYPTED_SRTCP"), "UNENCRYPTED_SRTCP"),
        ("optional", "RTP/SAVP", lambda: "", "without a key"),
        ("optional", "UDP/TLS/RTP/SAVP", lambda: "a=fingerprint:sha-256 00\r\n", "DTLS"),
    ],
)
async def test_refused(
    gateway: Gateway, device: Make, policy: str, proto: str, make: Callable[[], str], why: str
) -> None:
    """488, and the log says which line was refused for what."""

    def closed() -> list[dict[str, str]]:
        return [line for line in gateway.log_lines("session.closed") if line["device"] == policy]

    before = len(closed())
    async with device(policy, with_crypto(make, proto), who=2) as one:
        answer = await one.refused(ROOM)
        assert status(answer) == 488
    await until("the log tells", lambda: len(closed()) > before, 3)
    ended = closed()[-1]
    assert ended["reason"] == "no_common_codec"
    assert why in ended["text"]


@pytest.mark.parametrize(
    ("policy", "make", "note"),
    [
        ("off", lambda: crypto(1), ""),
        ("off", lambda: "", ""),
        ("optional", lambda: "", ""),
        ("optional", lambda: crypto(1, "AES_192_CM_HMAC_SHA1_80"), "srtp_passed_over"),
    ],
)
async def test_in_the_clear(
    gateway: Gateway, studio: RawDevice, device: Make, policy: str, make: Callable[[], str], note: str
) -> None:
    async with device(policy, with_crypto(make), who=3, hz=520) as one:
        answer = await one.call(ROOM)
        assert not any(block.values("crypto") for block in blocks(answer))
        await check(one, studio, gateway, encrypted=False)
        assert set(await one.notes()) == ({note} if note else set())
    await one.gone()


@pytest.mark.parametrize("policy", ["off", "optional", "mandatory"])
@pytest.mark.parametrize("able", [True, False], ids=["able", "unable"])
async def test_dialled(gateway: Gateway, studio: RawDevice, device: Make, policy: str, able: bool) -> None:
    """Our offer by policy, the device's answer by what it can: best effort gives the best that both can."""
    own = with_crypto(lambda: crypto(1)) if able else room_system()
    async with device(policy, own, who=4, hz=540) as one:
        started = await gateway.api("POST", "/calls", {"target": policy, "room": ROOM})
        if policy == "mandatory" and not able:
            offer = await one.take_call()
            await until("the gateway gives up", one.over.is_set, 3, 0.05)
            ended = [line for line in gateway.log_lines("session.closed") if line["session"] == started["session"]]
            assert "srtp is mandatory" in ended[0]["text"] or "without a key" in ended[0]["text"]
        else:
            offer = await one.take_call()
            await check(one, studio, gateway, encrypted=able and policy != "off")
        protos = {block.proto for block in blocks(offer)}
        assert protos == {"RTP/SAVP" if policy == "mandatory" else "RTP/AVP"}
        offered = [bool(block.crypto()) for block in blocks(offer)]
        assert set(offered) == {policy != "off"}
    await one.gone()


async def test_keys_stay_through_a_hold(gateway: Gateway, studio: RawDevice, device: Make) -> None:
    """The same keys are offered again: counters go on, nothing is refused as a replay."""
    async with device("mandatory", with_crypto(lambda: crypto(1), "RTP/SAVP"), who=5, hz=560) as one:
        await one.call(ROOM)
        await check(one, studio, gateway, encrypted=True)
        await one.hold()
        await one.resume()
        await check(one, studio, gateway, encrypted=True)
    await one.gone()


async def test_new_keys_in_mid_call(gateway: Gateway, studio: RawDevice, device: Make) -> None:
    """A re-INVITE with other keys (a B2BUA moved the call): both ways go on with them."""
    async with device("mandatory", with_crypto(lambda: crypto(1), "RTP/SAVP"), who=6, hz=580) as one:
        await one.call(ROOM)
        await check(one, studio, gateway, encrypted=True)
        one.audio.fresh_ssrc()
        one.video.fresh_ssrc()
        await one.reoffer(sdp=with_crypto(lambda: crypto(1), "RTP/SAVP"))
        frames, seen = studio.video.screen.frames, one.video.screen.frames
        await until("picture in", lambda: studio.video.screen.frames > frames + 5, 3, 0.05)
        await until("picture out", lambda: one.video.screen.frames > seen + 5, 3, 0.05)
        await until("the studio hears it", lambda: studio.audio.ear.hears(one.hz), 3)
        await until("it hears the studio", lambda: one.audio.ear.hears(STUDIO_HZ), 3)
    await one.gone()
