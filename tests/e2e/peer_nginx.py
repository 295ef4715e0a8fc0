"""nginx with its RTMP module: somebody else's server that we push to and pull from."""

import asyncio
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from peer_ffmpeg import end
from ports import free_port
from waiting import until

CONFIG = """
load_module {module};
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log info;
events {{ worker_connections 1024; }}
rtmp {{
    access_log {folder}/access.log;
    server {{
        listen 127.0.0.1:{port};
        chunk_size 4096;
        {more}
        application live {{ live on; }}
    }}
}}
"""
MODULE = Path("/usr/lib/nginx/modules/ngx_rtmp_module.so")


@dataclass
class NginxRtmp:
    """One running nginx, a single process in the foreground. ``async with`` it."""

    folder: Path
    more: str = ""
    port: int = field(default_factory=free_port)

    def url(self, stream: str) -> str:
        return f"rtmp://127.0.0.1:{self.port}/live/{stream}"

    @property
    def log(self) -> str:
        return (self.folder / "error.log").read_text("utf-8", "replace")

    async def __aenter__(self) -> "NginxRtmp":
        self.folder.mkdir(parents=True, exist_ok=True)
        await self.start()
        return self

    async def start(self) -> None:
        binary = shutil.which("nginx", path="/usr/sbin:/usr/bin")
        assert binary is not None, "nginx isn't installed: make test installs it"
        assert MODULE.exists(), "nginx's RTMP module isn't installed: make test installs it"
        config = self.folder / "nginx.conf"
        config.write_text(CONFIG.format(module=MODULE, folder=self.folder, port=self.port, more=self.more))
        with (self.folder / "out").open("ab") as out:
            self.process = await asyncio.create_subprocess_exec(
                *(binary, "-p", str(self.folder), "-c", str(config), "-e", str(self.folder / "error.log")),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        await until(f"nginx listens; see {self.folder}", self._listens)

    async def stop(self) -> None:
        """At once: its connections are closed."""
        await end(self.process)

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _listens(self) -> bool:
        assert self.process.returncode is None, (self.folder / "out").read_text()
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True
