"""Somebody else's device that can do nothing but register: digest, being called, calling, leaving."""

from pathlib import Path

import pytest
from gateway_here import PORT, config, gateway
from peer_baresip import Baresip

from orbridge.gateway.session import CloseReason, State

pytestmark = pytest.mark.e2e

CART = {"name": "cart", "adapter": "sip", "username": "cart-7", "password_file": "pw", "room": "or-3"}
ACCOUNT = f"<sip:cart-7@127.0.0.1:{PORT}>;auth_user=cart-7;auth_pass=s3cret;regint=60;answermode=auto"


async def test_a_baresip_that_registers(tmp_path: Path) -> None:
    async with gateway(config({"devices": [CART]}), {"pw": "s3cret"}) as gw:
        async with Baresip(tmp_path, user="spare", video="fakevideo,nil") as device:
            await device.command("uanew", ACCOUNT)
            await gw.until(lambda: gw.adapter.status()["bindings"], 10.0)
            session = await gw.adapter.dial(gw.context.config.devices[0], "or-3")
            await gw.until(lambda: session.state is State.ACTIVE and len(session.sinks) == 2, 5.0)
            assert "baresip" in session.user_agent
            await gw.until(lambda: pictures(gw.bus.engine.streams()) > 10, 5.0)
            await session.hangup(CloseReason.LOCAL_HANGUP)

            await device.command("uafind", f"sip:cart-7@127.0.0.1:{PORT}")
            await device.command("dial", f"sip:or-3@127.0.0.1:{PORT}")
            inbound = await gw.active(5.0)
            assert (inbound.device, inbound.inbound) == ("cart", True)
            await inbound.hangup(CloseReason.LOCAL_HANGUP)
        await gw.until(lambda: not gw.adapter.status()["bindings"], 5.0)
        assert gw.leftovers() == {"sessions": 0, "streams": 0, "legs": 0}


def pictures(streams: list[dict[str, object]]) -> int:
    tracks = [track for stream in streams for track in stream["tracks"] if track["kind"] == "video"]  # type: ignore[attr-defined]
    return sum(int(track["units"]) for track in tracks)
