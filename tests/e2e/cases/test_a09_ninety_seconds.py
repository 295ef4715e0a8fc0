"""A9: session timers with the least interval that RFC 4028 allows, and a longer one, against a gateway whose clock
goes 30 times as fast: when it refreshes, and when it takes a peer for vanished.

The media's clock goes fast too, so only signalling is looked at here.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from ports import free_port
from rawpeer import Dialog, RawPeer, answer_to, body, description, header, status
from running_gateway import Gateway
from waiting import crowding, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.e2e, pytest.mark.timeout(90)]

SPEED = 30
ROOM = "theatre"
# The gateway's tick on its fast clock, and 300 ms that a request may take to be seen here.
SLACK_S = 0.05 * SPEED + 0.3 * SPEED
SOURCE = Path(__file__).parents[2] / "data" / "fast_clock.c"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    library = folder / "fast_clock.so"
    compiler = await asyncio.create_subprocess_exec(
        *("cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl")
    )
    assert await compiler.wait() == 0
    made = Gateway(
        folder,
        media_more="silence_timeout_s = 0",
        environment={"LD_PRELOAD": str(library), "FAST_CLOCK": str(SPEED)},
    )
    made.device("one", f"sip:one@127.0.0.1:{free_port()}", ROOM)
    async with made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def one(gateway: Gateway) -> AsyncIterator[RawPeer]:
    port = int(gateway.devices[0]["address"].rpartition(":")[2])
    peer = await RawPeer(port, gateway.sip, user="one").open()
    yield peer
    for session in await gateway.sessions():
        await gateway.api("DELETE", f"/sessions/{session['id']}")
    peer.close()


async def call(one: RawPeer, interval_s: int, refresher: str) -> tuple[Dialog, str, float]:
    """Call the gateway; gives the dialog, the answer and when it came."""
    extra = ("Supported: timer", f"Session-Expires: {interval_s};refresher={refresher}", "Min-SE: 90")
    dialog, answer = await one.invite(description(), room=ROOM, extra=extra)
    return dialog, answer, time.monotonic()


async def heard_after(
    one: RawPeer, dialog: Dialog, since: float, *methods: str, within_s: float, but: str = ""
) -> tuple[str, float]:
    """The dialog's next request of these and how long after ``since`` it came, on the gateway's clock.

    ``but``: a request that was answered already. On the fast clock requests are repeated after 17 ms, so every test
    answers before it looks closer.
    """

    def fits(text: str) -> bool:
        is_new = header(text, "CSeq") != header(but, "CSeq")
        return text.startswith(methods) and header(text, "Call-ID") == dialog.call_id and is_new

    message = await one.wait(fits, (within_s / SPEED + 2) * crowding())
    return message, (time.monotonic() - since) * SPEED


@pytest.mark.parametrize("interval_s", [90, 150])
async def test_it_refreshes_at_half_the_interval(gateway: Gateway, one: RawPeer, interval_s: int) -> None:
    dialog, answer, since = await call(one, interval_s, "uas")
    assert status(answer) == 200
    assert header(answer, "Session-Expires") == f"{interval_s};refresher=uas"
    refresh = ""
    for _ in range(2):
        refresh, after_s = await heard_after(one, dialog, since, "UPDATE ", "INVITE ", within_s=interval_s, but=refresh)
        sdp = answer_to(body(refresh)) if body(refresh) else ""
        one.reply(refresh, 200, sdp=sdp, extra=("Require: timer", f"Session-Expires: {interval_s};refresher=uac"))
        since = time.monotonic()
        assert interval_s / 2 - 3 <= after_s <= interval_s / 2 + SLACK_S * crowding()
        assert header(refresh, "Session-Expires") == f"{interval_s};refresher=uac"
    await one.transact("BYE", dialog)


@pytest.mark.parametrize("interval_s", [90, 150])
async def test_a_peer_that_does_not_refresh_is_let_go_before_the_interval_ends(
    gateway: Gateway, one: RawPeer, interval_s: int
) -> None:
    """RFC 4028 10: by the lesser of 32 s and a third of the interval before its end."""
    dialog, answer, since = await call(one, interval_s, "uac")
    assert header(answer, "Session-Expires") == f"{interval_s};refresher=uac"
    (session,) = await gateway.sessions()
    bye, after_s = await heard_after(one, dialog, since, "BYE ", within_s=interval_s)
    one.reply(bye, 200)
    due_s = interval_s - min(32, interval_s / 3)
    assert due_s - 3 <= after_s <= due_s + SLACK_S * crowding()

    def reasons() -> list[str]:
        return [line["reason"] for line in gateway.log_lines("session.closed") if line["session"] == session["id"]]

    assert await until("it is closed", reasons) == ["expired"]


async def test_a_refresh_starts_the_interval_anew(gateway: Gateway, one: RawPeer) -> None:
    dialog, _, _ = await call(one, 90, "uac")
    await one.nothing(lambda text: text.startswith("BYE ") and header(text, "Call-ID") == dialog.call_id, 45 / SPEED)
    again = await one.transact(
        "UPDATE", dialog, extra=("Supported: timer", "Session-Expires: 90;refresher=uac", "Min-SE: 90")
    )
    assert status(again) == 200
    since = time.monotonic()
    bye, after_s = await heard_after(one, dialog, since, "BYE ", within_s=90)
    one.reply(bye, 200)
    assert 57 <= after_s <= 60 + SLACK_S * crowding()


async def test_less_than_ninety_is_refused_with_the_least(gateway: Gateway, one: RawPeer) -> None:
    extra = ("Supported: timer", "Session-Expires: 89;refresher=uac")
    _, answer = await one.invite(description(), room=ROOM, extra=extra)
    assert status(answer) == 422
    assert header(answer, "Min-SE") == "90"
    _, answer, _ = await call(one, 90, "uac")
    assert status(answer) == 200


async def test_what_is_offered_to_a_device_is_the_configured_interval(gateway: Gateway, one: RawPeer) -> None:
    await gateway.api("POST", "/calls", {"target": "one", "room": ROOM})
    invite = await one.wait("INVITE ")
    assert header(invite, "Session-Expires") == "1800"
    assert header(invite, "Min-SE") == "90"
    one.reply(invite, 486)
