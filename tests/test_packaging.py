"""What is shipped: the wheel, the lock files and the image are made from the same things, and nothing is left out."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PACKAGES = {"server", "sdk_protocol", "push", "admin_api"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def shipped(wheel: Path) -> set[str]:
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def test_the_wheel_has_exactly_the_four_packages(wheel: Path) -> None:
    assert {name.partition("/")[0] for name in shipped(wheel)} == PACKAGES


def test_the_wheel_has_every_file_of_them(wheel: Path) -> None:
    files = {path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()}
    expected = {path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts}
    assert shipped(wheel) == expected


@pytest.mark.parametrize(
    "pattern",
    [r"server/storage/.*\.sql", r"admin_api/console/.*\.html", r"sdk_protocol/protocol\.schema\.json"],
)
def test_the_wheel_has_what_is_not_python(wheel: Path, pattern: str) -> None:
    assert any(re.fullmatch(pattern, name) for name in shipped(wheel))


def test_the_installed_wheel_runs_from_anywhere(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    bin_folder = tmp_path / "venv" / "bin"
    (pip,) = (ROOT / "scripts" / "vendor").glob("pip-*.whl")
    install = [str(bin_folder / "python"), f"{pip}/pip", "install", "-q", "--no-index", "--no-deps", str(wheel)]
    subprocess.run(install, check=True, cwd=tmp_path)
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    # The dependencies come from this environment; a path added by a .pth file does not run the .pth files in it, so
    # the editable installation of the project stays out of sight.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"), "utf-8")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    where = [str(bin_folder / "python"), "-c", "import server; print(server.__file__)"]
    answer = subprocess.run(where, check=True, cwd=elsewhere, env=clean, capture_output=True, text=True)
    assert Path(answer.stdout.strip()).is_relative_to(tmp_path)
    version = subprocess.run(
        [str(bin_folder / "deskbell"), "--version"],
        check=True,
        cwd=elsewhere,
        env=clean,
        capture_output=True,
        text=True,
    )
    assert PROJECT["version"] in version.stdout
    assert version.stderr == ""


def locked(name: str) -> dict[str, str]:
    """Package → version of one lock file."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text("utf-8")
    return {canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE)}


def test_both_lock_files_agree() -> None:
    runtime, test = locked("runtime"), locked("test")
    assert runtime.items() <= test.items(), "run scripts/lock"


@pytest.mark.parametrize(
    ("lock", "extras"),
    [("runtime", ["embedded", "fcm", "build"]), ("test", ["embedded", "fcm", "build", "check", "test"])],
)
def test_the_lock_files_hold_what_the_project_asks_for(lock: str, extras: list[str]) -> None:
    versions = locked(lock)
    asked = PROJECT["dependencies"] + [line for extra in extras for line in PROJECT["optional-dependencies"][extra]]
    for requirement in map(Requirement, asked):
        name = canonicalize_name(requirement.name)
        if name != PROJECT["name"]:
            assert name in versions, f"{name} is not in requirements/{lock}.txt: run scripts/lock"
            assert requirement.specifier.contains(versions[name]), f"{name} {versions[name]}: run scripts/lock"


@pytest.mark.parametrize("lock", ["runtime", "test"])
def test_every_locked_package_has_hashes_and_no_host(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text("utf-8")
    entries = re.findall(r"^[\w.-]+==.*?(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL)
    assert len(entries) == len(locked(lock))
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text
    assert "index-url" not in text


def test_the_vendored_pip_is_the_one_it_should_be() -> None:
    folder = ROOT / "scripts" / "vendor"
    expected, name = (folder / "pip.sha256").read_text("utf-8").split()
    assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == expected
    assert [path.name for path in folder.glob("*.whl")] == [name]


def test_the_image_is_built_from_the_same_lock_without_root() -> None:
    lines = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ").splitlines()
    steps = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    stages = [value for step, value in steps if step == "FROM"]
    last = [index for index, (step, _) in enumerate(steps) if step == "FROM"][-1]
    final = steps[last:]
    assert len(stages) == 2
    assert any("--require-hashes -r requirements/runtime.txt" in value for _, value in steps[:last])
    assert {value.split()[0] for step, value in steps[:last] if step == "COPY"} >= PACKAGES
    assert [value for step, value in final if step == "USER"] == ["10001"]
    assert [step for step, _ in final].index("USER") < [step for step, _ in final].index("CMD")
    assert any(step == "HEALTHCHECK" and "/livez" in value for step, value in final)
    assert final[-1] == ["CMD", '["deskbell", "serve", "--host", "0.0.0.0"]']
    assigned = " ".join(value for step, value in steps if step in {"ENV", "ARG"})
    assert not re.search(r"KEY|SECRET|PASSWORD|TOKEN|CREDENTIAL", assigned)


def test_the_image_gets_only_what_it_copies() -> None:
    rules = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert rules[1] == "*"
    assert {rule.removeprefix("!") for rule in rules if rule.startswith("!")} >= PACKAGES
