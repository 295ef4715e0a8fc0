"""The daemon as it runs in a hospital: its own process, a config file, its HTTP side and its control socket."""

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from ports import free_port
from waiting import until

from orbridge.gateway.cli.client import NotRunning, ask

DEVICE = """
[[devices]]
name = "{name}"
adapter = "sip"
address = "{address}"
room = "{room}"
{more}
"""


ENCODER = """
[[devices]]
name = "{name}"
adapter = "rtmp"
key_file = "key-{name}"
room = "{room}"
{more}
"""

TOKEN = """
[[tokens]]
name = "{name}"
secret_file = "token-{name}"
may = [{may}]
{more}
"""


def key_of(encoder: str) -> str:
    """The stream key of an encoder of ``Gateway.encoder``."""
    return f"{encoder}-s3cret+="


@dataclass
class Gateway:
    """One running `orbridge serve`. ``async with`` it."""

    folder: Path
    devices: list[dict[str, str]] = field(default_factory=list)
    more: str = ""
    media_more: str = ""
    sip_more: str = ""
    transports: tuple[str, ...] = ("udp", "tcp")
    environment: dict[str, str] = field(default_factory=dict)
    http: int = field(default_factory=free_port)
    sip: int = field(default_factory=free_port)
    sip_tls: int = field(default_factory=free_port)
    media_ports: int = field(default_factory=lambda: 40000 + free_port() % 100 * 200)
    # RTMP is there when an encoder is, and RTMPS when a certificate is.
    rtmp: int = field(default_factory=free_port)
    rtmps: int = field(default_factory=free_port)
    rtmp_more: str = ""
    certificate: Path | None = None
    encoders: list[dict[str, str]] = field(default_factory=list)
    tokens: list[dict[str, str]] = field(default_factory=list)

    def device(self, name: str, address: str, room: str, more: str = "") -> None:
        self.devices.append({"name": name, "address": address, "room": room, "more": more})

    def encoder(self, name: str, room: str, more: str = "") -> None:
        """A device that publishes over RTMP with the key ``key_of(name)``."""
        self.encoders.append({"name": name, "room": room, "more": more})

    def token(self, name: str, *may: str, more: str = "") -> None:
        """A token whose secret is ``secret-token-NAME``."""
        self.tokens.append({"name": name, "may": ", ".join(f'"{right}"' for right in may), "more": more})

    def publish_url(self, name: str, key: str | None = None, *, secure: bool = False) -> str:
        return f"{self._rtmp_url(secure)}/live/{name}?key={key or key_of(name)}"

    def play_url(self, stream: str, *, token: str = "", app: str = "live", secure: bool = False) -> str:
        """Of a device by its name, a stream by its own, or with ``app="rooms"`` a room."""
        return f"{self._rtmp_url(secure)}/{app}/{stream}" + (f"?token=secret-token-{token}" if token else "")

    def _rtmp_url(self, secure: bool) -> str:
        return f"rtmps://127.0.0.1:{self.rtmps}" if secure else f"rtmp://127.0.0.1:{self.rtmp}"

    @property
    def control(self) -> Path:
        return self.folder / "control"

    @property
    def config(self) -> Path:
        return self.folder / "orbridge.toml"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http}"

    def uri(self, user: str, transport: str = "udp") -> str:
        if transport == "tls":
            return f"sip:{user}@127.0.0.1:{self.sip_tls};transport=tls"
        return f"sip:{user}@127.0.0.1:{self.sip}" + ("" if transport == "udp" else f";transport={transport}")

    def write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        ports = {"udp": self.sip, "tcp": self.sip, "tls": self.sip_tls}
        listen = [f'"{transport}:127.0.0.1:{ports[transport]}"' for transport in self.transports]
        media = f"{self.media_ports}-{self.media_ports + 1999}"
        self.config.write_text(
            f'[http]\nlisten = "127.0.0.1:{self.http}"\n'
            f"[sip]\nlisten = [{', '.join(listen)}]\n{self.sip_more}\n"
            f'[media]\nhost = "127.0.0.1"\nudp_ports = "{media}"\n{self.media_more}\n'
            f'[control]\nsocket = "{self.control}"\n'
            f'[log]\nformat = "json"\nlevel = "debug"\n{self.more}\n'
            + "".join(DEVICE.format(**device) for device in self.devices)
            + "".join(ENCODER.format(**encoder) for encoder in self.encoders)
            + "".join(TOKEN.format(**token) for token in self.tokens)
            + self._rtmp_section()
        )
        for encoder in self.encoders:
            (self.folder / f"key-{encoder['name']}").write_text(key_of(encoder["name"]))
        for token in self.tokens:
            (self.folder / f"token-{token['name']}").write_text(f"secret-token-{token['name']}")

    def _rtmp_section(self) -> str:
        if not self.encoders:
            return ""
        tls = ""
        if self.certificate is not None:
            tls = f'tls_listen = "127.0.0.1:{self.rtmps}"\ntls_certificate = "{self.certificate}"\n'
            tls += f'tls_key = "{self.certificate}"\n'
        return f'[rtmp]\nlisten = "127.0.0.1:{self.rtmp}"\n{tls}{self.rtmp_more}\n'

    async def __aenter__(self) -> "Gateway":
        self.write()
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), 10)
            except TimeoutError:
                self.process.kill()
                await self.process.wait()
        self._log.close()

    async def start(self) -> None:
        self._log = (self.folder / "log").open("ab")
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "orbridge.gateway.cli.main", "serve", "-c", str(self.config)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, **self.environment},
        )
        await until(f"the gateway is ready; {self.folder / 'log'}", self._ready, within_s=15)

    async def kill(self) -> None:
        """As if the power went."""
        self.process.kill()
        await self.process.wait()
        self._log.close()

    async def stop(self) -> float:
        """SIGTERM; returns the seconds that it took. Fails when it ends with another status than 0."""
        loop = asyncio.get_running_loop()
        before = loop.time()
        self.process.terminate()
        assert await asyncio.wait_for(self.process.wait(), 10) == 0
        self._log.close()
        return loop.time() - before

    def reload(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    async def api(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return await ask(self.control, method, path, body)

    async def sessions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self.api("GET", "/sessions")
        return found

    async def metrics(self) -> str:
        async with aiohttp.ClientSession() as client, client.get(f"{self.url}/metrics") as response:
            return await response.text()

    def log_lines(self, event: str = "") -> list[dict[str, Any]]:
        """The log so far, parsed; of one event when named."""
        lines = []
        for line in (self.folder / "log").read_text("utf-8").splitlines():
            try:
                parsed = json.loads(line)
            except json.JSONDecodeError:
                parsed = {"event": "unparsed", "text": line}
            if not event or parsed.get("event") == event:
                lines.append(parsed)
        return lines

    def rss_kib(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1])

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    async def _ready(self) -> bool:
        if self.process.returncode is not None:
            raise AssertionError(f"the gateway ended: {(self.folder / 'log').read_text()[-3000:]}")
        try:
            return bool((await self.api("GET", "/status"))["ready"])
        except NotRunning:
            return False
