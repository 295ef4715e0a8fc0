"""A9, A10: session timers in every distribution of roles, and both sides that re-INVITE at once."""

import asyncio
from collections.abc import Callable

import pytest
from raw_device import RawDevice
from rawpeer import body, header, status
from running_gateway import Gateway
from waiting import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.e2e, pytest.mark.timeout(60)]

DEVICES = {"one": ""}
ROOM, STUDIO, STUDIO_HZ = "theatre", 200, 700
# A device's own wish, below what RFC 4028 allows, so that a test lasts seconds.
INTERVAL_S = 4
Make = Callable[..., RawDevice]


def keep(refresher: str) -> tuple[str, ...]:
    """In the device's 200: ``uac`` is the gateway, that called."""
    return ("Require: timer", f"Session-Expires: {INTERVAL_S};refresher={refresher}")


async def called(gateway: Gateway, one: RawDevice, *extra: str) -> None:
    await gateway.api("POST", "/calls", {"target": "one", "room": ROOM})
    await one.take_call(extra=extra)


async def lives(one: RawDevice, studio: RawDevice) -> None:
    """Picture and sound flow now."""
    frames, seen = studio.video.screen.frames, one.video.screen.frames
    await until("picture in", lambda: studio.video.screen.frames > frames + 5, 3, 0.05)
    await until("picture out", lambda: one.video.screen.frames > seen + 5, 3, 0.05)
    await until("sound in", lambda: studio.audio.ear.hears(one.hz), 3)
    await until("sound out", lambda: one.audio.ear.hears(STUDIO_HZ), 3)


async def test_too_short_an_interval(device: Make) -> None:
    """422 with our Min-SE; the second try with it is taken, and who refreshes is as the device wants it."""
    async with device("one", who=1, hz=500) as one:
        answer = await one.refused(ROOM, extra=("Supported: timer", "Session-Expires: 30", "Min-SE: 30"))
        assert status(answer) == 422
        assert header(answer, "Min-SE") == "90"
    await one.gone()


@pytest.mark.parametrize(("wanted", "refresher"), [("90;refresher=uac", "uac"), ("90;refresher=uas", "uas"), ("", "")])
async def test_a_caller_says_who_refreshes(device: Make, wanted: str, refresher: str) -> None:
    """90 s, either side, or a caller that knows no timers at all."""
    async with device("one", who=1, hz=500) as one:
        extra = ("Supported: timer", f"Session-Expires: {wanted}") if wanted else ()
        one.dialog, answer = await one.sip.invite(one.describe(), room=ROOM, extra=extra)
        assert status(answer) == 200
        if wanted:
            assert header(answer, "Session-Expires") == f"90;refresher={refresher}"
            # RFC 4028 9: a caller that shall refresh is held to it
            assert refresher == "uas" or "timer" in header(answer, "Require")
        else:
            assert "timer" not in header(answer, "Require")
    await one.gone()


@pytest.mark.parametrize("method", ["UPDATE", "INVITE"])
async def test_the_gateway_refreshes(gateway: Gateway, studio: RawDevice, device: Make, method: str) -> None:
    """Media never stops, and the call outlives the interval."""
    async with device("one", who=2, hz=520, takes_update=method == "UPDATE") as one:
        await called(gateway, one, *keep("uac"))
        ear = one.audio.ear
        await lives(one, studio)
        ear.watch()
        one.video.screen.watch()
        await asyncio.sleep(INTERVAL_S + 1)
        refreshes = [asked for _, asked in one.requests if asked in ("UPDATE", "INVITE")]
        assert len(refreshes) >= 2
        assert set(refreshes) == {method}
        assert one.audio.gaps == one.video.gaps == 0
        assert one.video.screen.broken == 0
        assert not one.over.is_set()
        await lives(one, studio)
    await one.gone()


@pytest.mark.parametrize("refresher", ["uas", "uac"])
async def test_a_device_that_vanished_is_freed(gateway: Gateway, device: Make, refresher: str) -> None:
    """It refreshes no more, or doesn't answer our refresh; its media goes on, as from a stuck proxy."""
    async with device("one", who=3, hz=540, reoffers=False) as one:
        await called(gateway, one, *keep(refresher))
        began = asyncio.get_running_loop().time()
        await one.gone(2 * INTERVAL_S)
        assert asyncio.get_running_loop().time() - began < INTERVAL_S + 2
        ended = [line for line in gateway.log_lines("session.closed") if line["device"] == "one"][-1]
        assert ended["reason"] == "expired"
        one.over.set()


async def test_a_device_that_refreshes_keeps_its_call(gateway: Gateway, studio: RawDevice, device: Make) -> None:
    async with device("one", who=4, hz=560) as one:
        await called(gateway, one, *keep("uas"))
        for method in ("INVITE", "UPDATE", "INVITE"):
            await asyncio.sleep(INTERVAL_S / 2)
            extra = ("Supported: timer", f"Session-Expires: {INTERVAL_S};refresher=uac")
            if method == "INVITE":
                _, answer = await one.sip.invite(one.described, one.dialog, extra=extra)
            else:
                answer = await one.sip.transact(method, one.dialog, extra=extra)
            assert status(answer) == 200, answer
        await lives(one, studio)
    await one.gone()


async def test_a_device_that_wants_five_hundred_seconds(gateway: Gateway, studio: RawDevice, device: Make) -> None:
    """422 with Min-SE: 500, as a Cisco Expressway answers."""
    async with device("one", who=5, hz=580) as one:
        await gateway.api("POST", "/calls", {"target": "one", "room": ROOM})
        first = await one.sip.wait("INVITE ")
        one.sip.reply(first, 422, "Session Interval Too Small", extra=("Min-SE: 5000",))
        await one.take_call(extra=("Require: timer", "Session-Expires: 5000;refresher=uac"))
        assert not one.over.is_set()
        await lives(one, studio)
    await one.gone()


async def test_glare(gateway: Gateway, studio: RawDevice, device: Make) -> None:
    """Both re-INVITE before either was answered: each refuses the other's (491), each tries again, both settle."""
    async with device("one", who=6, hz=600, takes_update=False, reoffers=False) as one:
        await called(gateway, one, *keep("uac"))
        await lives(one, studio)
        theirs = await one.sip.wait("INVITE ", INTERVAL_S)
        dialog = one.dialog
        assert dialog is not None
        one.sip.request("INVITE", dialog, content=one.describe())
        mark = f"{dialog.cseq} INVITE"
        answer = await one.sip.wait(lambda m: status(m) >= 200 and header(m, "CSeq") == mark, 2)
        assert status(answer) == 491
        one.sip.request("ACK", dialog, cseq=dialog.invite_cseq, branch=dialog.branch)
        one.sip.reply(theirs, 491, "Request Pending")
        one.reoffers = True
        await asyncio.sleep(0.6)  # RFC 3261 14.1: who doesn't own the Call-ID waits 0 to 2 s
        await one.reoffer()
        await lives(one, studio)
        count = len(one.requests)
        await until("the gateway tries again", lambda: len(one.requests) > count, INTERVAL_S + 1, 0.05)
        await asyncio.sleep(1)
        assert not one.over.is_set()
        await lives(one, studio)
    await one.gone()


async def test_glare_over_and_over(gateway: Gateway, studio: RawDevice, device: Make) -> None:
    """A device that re-INVITEs in the very moment of each of our refreshes: the call settles every time."""
    async with device("one", who=7, hz=620, takes_update=False) as one:
        await called(gateway, one, *keep("uac"))
        for _ in range(3):
            await one.sip.wait("INVITE ", INTERVAL_S)  # is answered by itself meanwhile
            for _ in range(8):
                _, answer = await one.sip.invite(one.describe(), one.dialog)
                if status(answer) == 200:
                    break
                assert status(answer) in (491, 500), answer
                await asyncio.sleep(0.2)
            assert status(answer) == 200
            one.agree(one.described, body(answer), we_answered=False)
        await lives(one, studio)
        assert not one.over.is_set()
    await one.gone()
