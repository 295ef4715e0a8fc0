"""House rules of the package: the list of packages, import rules, the languages' borders."""

import re
import tomllib

from meta_sources import FOLDERS, ROOT, imports, sources


def test_the_package_list_is_the_folders() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"])
    there = {
        "orbridge." + ".".join(init.parent.relative_to(ROOT).parts)
        for folder in FOLDERS
        for init in (ROOT / folder).rglob("__init__.py")
    }
    assert listed == there


def test_every_folder_with_python_is_a_package() -> None:
    assert [path for path in sources() if not (path.parent / "__init__.py").exists()] == []


def test_each_top_package_is_typed() -> None:
    assert [folder for folder in FOLDERS if not (ROOT / folder / "py.typed").exists()] == []


def test_own_modules_are_imported_by_their_package_name() -> None:
    wrong = [(path, name) for path in sources("gateway", "adapters", "codecs", "tests") for name in imports(path)
             if name.split(".")[0] in ("gateway", "adapters")]  # fmt: skip
    assert wrong == []


def test_the_gateway_knows_no_adapter() -> None:
    wrong = [
        (path, name) for path in sources("gateway") for name in imports(path) if name.startswith("orbridge.adapters")
    ]
    assert wrong == []


def test_no_adapter_imports_another() -> None:
    for path in sources("adapters"):
        own = path.relative_to(ROOT / "adapters").parts[0]
        for name in imports(path):
            if name.startswith("orbridge.adapters."):
                assert name.split(".")[2] == own, f"{path} imports {name}"


def test_codecs_are_sans_io() -> None:
    forbidden = {"asyncio", "socket", "time", "threading", "structlog", "logging", "aiohttp", "random"}
    for path in sources("codecs"):
        for name in imports(path):
            assert name.split(".")[0] not in forbidden, f"{path} imports {name}"
            assert not name.startswith(("orbridge.gateway", "orbridge.adapters")), f"{path} imports {name}"


def test_libraries_stay_in_the_adapter_that_is_licensed_for_them() -> None:
    licensed = {"pjsua2": "adapters/sip", "aiortc": "adapters/webrtc", "aioice": "adapters/webrtc"}
    for path in sources():
        for name in imports(path):
            where = licensed.get(name.split(".")[0])
            assert where is None or where in path.as_posix(), f"{path} imports {name}"


def test_one_rust_file_or_folder_knows_python() -> None:
    for path in (ROOT / "codecs" / "engine" / "src").rglob("*.rs"):
        inside = path.relative_to(ROOT / "codecs" / "engine" / "src").as_posix()
        if not inside.startswith("python"):
            assert "pyo3" not in path.read_text("utf-8"), f"{inside} names PyO3"


def test_no_catch_all_modules() -> None:
    assert [path for path in sources("gateway", "adapters", "codecs", "tests")
            if re.fullmatch(r"utils?|helpers?|common|misc", path.stem)] == []  # fmt: skip


def test_no_file_is_too_long() -> None:
    limit = 600
    long = {path.as_posix(): n for path in sources() if (n := path.read_text("utf-8").count("\n")) > limit}
    assert long == {}


def test_the_changelog_begins_with_unreleased() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased"
