"""Media never waits for Python: the interpreter is blocked 300 ms of every second, and pictures pass as before."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from engine_peer import PORTS

from orbridge.codecs._engine import Engine

STREAMS, SECONDS = 8, 4.0


@pytest.mark.parametrize("blocked", [False, True])
def test_forwarding_while_the_interpreter(blocked: bool) -> None:
    engine = Engine(udp_ports=PORTS)
    legs = [(engine.open_leg("127.0.0.1"), engine.open_leg("127.0.0.1")) for _ in range(STREAMS)]
    command = [sys.executable, str(Path(__file__).with_name("engine_traffic.py")), str(SECONDS)]
    traffic = subprocess.Popen(
        [*command, *(str(inbound.port) for inbound, _ in legs)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert traffic.stdin is not None
    assert traffic.stdout is not None
    sinks = json.loads(traffic.stdout.readline())
    for number, ((inbound, outbound), port) in enumerate(zip(legs, sinks, strict=True)):
        track = engine.publish(str(number)).add_track("video", "H264", clock_hz=90_000)
        inbound.add_receiver(track, payload_types={96: "H264"})
        outbound.set_peer("127.0.0.1", port)
        outbound.set_keys("AEAD_AES_128_GCM", bytes(range(28)), bytes(28))
        # The probe reads its numbers from the packet's end, in the clear.
        outbound.clear_keys()
        outbound.add_sender("H264", 96, clock_hz=90_000, ssrc=number + 1, cname="x").select(track)
    traffic.stdin.write("go\n")
    traffic.stdin.flush()
    end = time.monotonic() + SECONDS
    while blocked and time.monotonic() < end:
        # One call that never gives up the GIL, as a slow regular expression or a large sort would.
        start = time.monotonic()
        while time.monotonic() - start < 0.3:
            sorted(hashlib.sha256(bytes(9)).digest() * 3000)
        time.sleep(0.7)
    result = json.loads(traffic.stdout.readline())
    traffic.wait(10)
    engine.close()
    print(json.dumps({"blocked": blocked} | result))
    assert result["received"] == result["sent"]
    # Were Python in the way, three pictures of ten would wait up to 300 ms. The tail belongs to the benchmark: here it
    # would tell how busy this computer is.
    assert result["p90_us"] < 20_000, result
