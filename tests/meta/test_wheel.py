"""The wheel has every module, type file and page; the engine itself is left out here because it takes minutes."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from meta_sources import FOLDERS, ROOT, sources


def test_the_wheel_is_complete(tmp_path: Path) -> None:
    # Built from a copy: setuptools leaves a build folder behind, whose stale files would go into the next wheel.
    copy = tmp_path / "copy"
    skip = shutil.ignore_patterns("__pycache__", "*.so", "target", "node_modules", "engine")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, copy / folder, ignore=skip)
    for name in ("pyproject.toml", "setup.py", "README.md", "MANIFEST.in"):
        shutil.copy(ROOT / name, copy / name)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    environment = {**os.environ, "ORBRIDGE_ENGINE_BUILT": "1"}
    subprocess.run([*command, str(copy)], env=environment, check=True, timeout=100)
    (wheel,) = tmp_path.glob("orbridge-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    expected = {f"orbridge/{path.relative_to(ROOT)}" for path in sources()}
    expected |= {f"orbridge/{folder}/py.typed" for folder in FOLDERS}
    expected |= {f"orbridge/{path.relative_to(ROOT)}" for path in (ROOT / "gateway/http/static").iterdir()}
    expected.add("orbridge/codecs/_engine.pyi")
    assert expected - inside == set()
    assert [name for name in inside if name.startswith(("gateway", "adapters", "codecs", "tests"))] == []
