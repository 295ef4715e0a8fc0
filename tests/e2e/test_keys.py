"""Keys from the gateway in somebody else's program: baresip tells each key that is pressed and let go."""

import asyncio
import sys
from pathlib import Path

import pytest
from peer_baresip import Baresip
from running_gateway import Gateway
from waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]

KEYS = "1123*#00ABCD"


@pytest.mark.parametrize(
    ("codec", "profile"),
    [("PCMA", "auto"), ("G722/16000", "auto"), ("opus/48000/2", "auto"), ("PCMA", "keys-by-info")],
)
async def test_every_key_once_in_baresip(tmp_path: Path, codec: str, profile: str) -> None:
    # Somebody else talks: baresip takes a packet out of its jitter buffer only when others follow.
    async with (
        Baresip(tmp_path / "or-3", user="or3", audio_codecs=codec) as device,
        Baresip(tmp_path / "or-4", user="or4") as talker,
    ):
        gateway = Gateway(tmp_path / "gateway")
        gateway.device("or-3", device.uri, "or-3", f'profile = "{profile}"')
        gateway.device("or-4", talker.uri, "or-3")
        async with gateway:
            for name, called in (("or-4", talker), ("or-3", device)):
                await gateway.api("POST", "/calls", {"target": name})
                await called.event("CALL_ESTABLISHED")

            async def active() -> list[str]:
                found = await gateway.sessions()
                return [one["id"] for one in found if one["device"] == "or-3" and one["state"] == "active"]

            (session,) = await until("the call stands", active)
            await gateway.api("POST", f"/sessions/{session}/dtmf", {"digits": KEYS[:8]})
            command = ("dtmf", session, KEYS[8:], "--socket", str(gateway.control))
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "orbridge.gateway.cli.main", *command), stdout=asyncio.subprocess.DEVNULL
            )
            assert await process.wait() == 0

            def ended() -> int:
                return len([event for event in device.events if event["type"] == "CALL_DTMF_END"])

            await until("every key", lambda: ended() >= len(KEYS), within_s=12)
            await asyncio.sleep(0.6)
            told = [event for event in device.events if event["type"].startswith("CALL_DTMF")]
            assert "".join(event["param"] for event in told[::2]) == KEYS
            assert [event["type"] for event in told] == ["CALL_DTMF_START", "CALL_DTMF_END"] * len(KEYS)
            await device.command("hangup")
