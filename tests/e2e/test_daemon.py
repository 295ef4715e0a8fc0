"""The daemon as systemd and a technician see it: start, stop, reload, kill, second instance, status."""

import asyncio
import contextlib
import json
import signal
import socket
import sys
from pathlib import Path

import aiohttp
import pytest
from peer_baresip import Baresip
from running_gateway import Gateway
from waiting import crowding, until

pytestmark = pytest.mark.e2e


async def orbridge(*arguments: str) -> tuple[int, str, str]:
    """(exit status, standard output, standard error) of the command line."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orbridge.gateway.cli.main", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 20)
    return process.returncode or 0, out.decode(), err.decode()


async def test_sigterm_ends_calls_with_bye_within_five_seconds(tmp_path: Path) -> None:
    async with Baresip(tmp_path / "or-3", user="or3") as device:
        gateway = Gateway(tmp_path / "gateway")
        gateway.device("or-3", device.uri, "or-3")
        async with gateway:
            await device.dial(gateway.uri("or-3"))
            await device.event("CALL_ESTABLISHED")
            assert await gateway.stop() < 5
            await device.event("CALL_CLOSED", within_s=2)
            closed = gateway.log_lines("session.closed")
            assert closed[-1]["reason"] == "shutdown"
            assert gateway.log_lines("daemon.stopped")


async def test_killed_and_started_again_it_takes_calls_at_once(tmp_path: Path) -> None:
    async with Baresip(tmp_path / "or-3", user="or3") as device:
        gateway = Gateway(tmp_path / "gateway")
        gateway.device("or-3", device.uri, "or-3")
        async with gateway:
            await device.dial(gateway.uri("or-3"))
            await device.event("CALL_ESTABLISHED")
            await gateway.kill()
            await gateway.start()
            await device.command("hangup")
            await device.event("CALL_CLOSED")
            await device.dial(gateway.uri("or-3"))
            await device.event("CALL_ESTABLISHED", within_s=5)


async def test_a_second_instance_gets_one_clear_line(tmp_path: Path) -> None:
    async with Gateway(tmp_path / "gateway") as gateway:
        status, out, err = await orbridge("serve", "-c", str(gateway.config))
        assert status == 1
        said = [line for line in (out + err).splitlines() if '"error"' in line]
        assert len(said) == 1, said
        assert "in use" in said[0]
        assert str(gateway.sip) in said[0] or str(gateway.http) in said[0]
        assert (await gateway.api("GET", "/status"))["ready"], "the first one goes on"


async def test_sighup_takes_over_devices_rooms_and_tokens_and_calls_stay(tmp_path: Path) -> None:
    async with Baresip(tmp_path / "or-3", user="or3") as device:
        gateway = Gateway(tmp_path / "gateway")
        gateway.device("or-3", device.uri, "or-3")
        async with gateway:
            await device.dial(gateway.uri("or-3"))
            await device.event("CALL_ESTABLISHED")
            gateway.more = '[[rooms]]\nname = "tumour-board"\n'
            gateway.device("or-4", "sip:or4@127.0.0.1:1", "or-4")
            gateway.write()
            gateway.reload()

            async def taken_over() -> bool:
                rooms = {room["name"] for room in await gateway.api("GET", "/rooms")}
                devices = {found["name"] for found in await gateway.api("GET", "/devices")}
                return "tumour-board" in rooms and devices == {"or-3", "or-4"}

            await until("the new room and device are known", taken_over)
            assert [session["state"] for session in await gateway.sessions()] == ["active"]
            gateway.config.write_text("[sip]\nlissen = []\n")
            gateway.reload()
            await until("the wrong file is refused", lambda: gateway.log_lines("config.refused"))
            assert "did you mean listen?" in gateway.log_lines("config.refused")[0]["problem"]
            assert [session["state"] for session in await gateway.sessions()] == ["active"]


async def test_systemd_hears_ready_status_and_watchdog(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        heard = b""

        def said(what: bytes) -> bool:
            nonlocal heard
            with contextlib.suppress(BlockingIOError):
                heard += systemd.recv(4096) + b"\n"
            return what in heard

        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"}
        async with Gateway(tmp_path / "gateway", environment=environment) as gateway:
            await until("READY=1", lambda: said(b"READY=1"))
            await until("WATCHDOG=1", lambda: said(b"WATCHDOG=1"))
            await until("a status", lambda: said(b"STATUS=0 sessions"), within_s=8)
            await gateway.stop()
            await until("STOPPING=1", lambda: said(b"STOPPING=1"))


async def test_status_for_people_and_programs(tmp_path: Path) -> None:
    async with Baresip(tmp_path / "or-3", user="or3") as device:
        gateway = Gateway(tmp_path / "gateway")
        gateway.device("or-3", device.uri, "or-3")
        gateway.device("or-9", "sip:or9@127.0.0.1:1", "or-9")
        async with gateway:
            await device.dial(gateway.uri("or-3"))
            await device.event("CALL_ESTABLISHED")
            status, out, _ = await orbridge("status", "--socket", str(gateway.control))
            assert status == 0
            for word in ("ready", "or-3", "connected", "or-9", "active"):
                assert word in out
            status, out, _ = await orbridge("status", "--json", "--socket", str(gateway.control))
            facts = json.loads(out)
            assert {found["name"]: found["state"] for found in facts["devices"]}["or-3"] == "connected"
            session = facts["sessions"][0]["id"]
            status, out, _ = await orbridge("hangup", session, "--socket", str(gateway.control))
            assert status == 0
            await device.event("CALL_CLOSED")
            status, _, err = await orbridge("hangup", session, "--socket", str(gateway.control))
            assert status == 1
            assert session in err


async def test_call_says_who_is_not_there(tmp_path: Path) -> None:
    async with Gateway(tmp_path / "gateway") as gateway:
        status, _, err = await orbridge("call", "or-7", "--socket", str(gateway.control))
        assert status == 1
        assert "no device is called or-7" in err


async def test_without_a_daemon_the_command_line_says_so(tmp_path: Path) -> None:
    status, _, err = await orbridge("status", "--socket", str(tmp_path / "nothing"))
    assert status == 1
    assert "no daemon answers on" in err


async def test_exit_statuses(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("[sip]\nlissen = []\n")
    assert (await orbridge("check-config", str(wrong)))[0] == 78
    assert (await orbridge("serve", "-c", str(wrong)))[0] == 78
    assert (await orbridge("nonsense"))[0] == 2
    right = tmp_path / "right.toml"
    right.write_text("")
    assert (await orbridge("check-config", str(right)))[0] == 0


async def test_a_vanished_device_is_freed_within_30_seconds(tmp_path: Path) -> None:
    async with Baresip(tmp_path / "or-3", user="or3") as device:
        gateway = Gateway(tmp_path / "gateway")
        gateway.device("or-3", device.uri, "or-3")
        async with gateway:
            await device.dial(gateway.uri("or-3"))
            await device.event("CALL_ESTABLISHED")
            await until("media flows", lambda: _active(gateway))
            await device.kill()

            async def freed() -> bool:
                return not await gateway.sessions()

            await until("the session is gone", freed, within_s=33, every_s=0.5)
            assert gateway.log_lines("session.closed")[-1]["reason"] in ("silent", "transport_failed")


async def _active(gateway: Gateway) -> bool:
    return any(session["state"] == "active" for session in await gateway.sessions())


async def test_start_is_quick_and_an_idle_daemon_is_quiet(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path / "gateway")
    for number in range(10):
        gateway.device(f"or-{number}", f"sip:or{number}@127.0.0.1:1", "or")
    async with gateway:
        ready = gateway.log_lines("daemon.readied")[0]["ready_ms"]
        assert ready < 1500 * crowding()
        before = cpu_seconds(gateway.process.pid)
        await asyncio.sleep(4)
        assert (cpu_seconds(gateway.process.pid) - before) / 4 < 0.05
        gateway.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(gateway.process.wait(), 5) == 0


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


async def test_the_file_of_the_documentation_runs_though_its_secrets_are_not_there(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path / "gateway", more='[[tokens]]\nname = "dr-li"\nsecret_file = "keys/dr-li"\n')
    gateway.write()
    status, _, err = await orbridge("check-config", str(gateway.config))
    assert status == 0
    assert "tokens.dr-li.secret_file: secret keys/dr-li can't be read" in err
    async with gateway, aiohttp.ClientSession() as client:
        assert "its owner is locked out" in gateway.log_lines("secret.missed")[0]["problem"]
        for token in ("", "?token=", "?token=guess"):
            async with client.get(f"{gateway.url}/api/v1/rooms{token}") as response:
                assert response.status == 401


async def test_hold_from_our_side_and_back_within_a_second(tmp_path: Path) -> None:
    async with Baresip(tmp_path / "or-3", user="or3") as device:
        gateway = Gateway(tmp_path / "gateway")
        gateway.device("or-3", device.uri, "or-3")
        async with gateway:
            await device.dial(gateway.uri("or-3"))
            await device.event("CALL_ESTABLISHED")
            (session,) = await gateway.sessions()

            async def packets() -> list[int]:
                """Received of each line so far."""
                legs = (await gateway.api("GET", f"/sessions/{session['id']}"))["stats"]["legs"]
                return [receiver["packets"] for leg in legs for receiver in leg["receivers"]]

            async def in_state(state: str) -> bool:
                return [found["state"] for found in await gateway.sessions()] == [state]

            async def more_than(before: list[int]) -> bool:
                return all(now > then for now, then in zip(await packets(), before, strict=True))

            await until("sound and picture arrive", lambda: more_than([0, 0]))
            await gateway.api("PUT", f"/sessions/{session['id']}/hold")
            await until("the call is on hold", lambda: in_state("held"))
            await asyncio.sleep(2)
            before = await packets()
            await gateway.api("DELETE", f"/sessions/{session['id']}/hold")
            await until("both arrive again", lambda: more_than(before), within_s=1.0, every_s=0.05)
            assert await in_state("active")
