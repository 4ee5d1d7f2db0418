"""The generated documents: committed copies are current, and the golden frames are valid by them."""

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from sdk_protocol import asyncapi, schema
from sdk_protocol.frames import DeskFrame, DeskServerFrame, UserFrame, UserServerFrame

ROOT = Path(__file__).parent.parent.parent
CORPUS = json.loads(Path(__file__).with_name("golden_frames.json").read_text(encoding="utf-8"))
NAMES = {"user": "UserFrame", "desk": "DeskFrame", "user_server": "UserServerFrame", "desk_server": "DeskServerFrame"}


def validator(name: str) -> Any:
    document = schema.document()
    return jsonschema.Draft202012Validator({"$defs": document["$defs"], "$ref": f"#/$defs/{name}"})


def test_the_committed_copies_are_what_the_frames_say() -> None:
    assert schema.main(["--check"]) == 0, "run: python -m sdk_protocol.schema"
    assert asyncapi.main(["--check"]) == 0, "run: python -m sdk_protocol.asyncapi"


def test_the_schema_is_valid_itself() -> None:
    jsonschema.Draft202012Validator.check_schema(schema.document())


@pytest.mark.parametrize("direction", NAMES)
def test_every_golden_frame_is_valid(direction: str) -> None:
    check = validator(NAMES[direction])
    whole = jsonschema.Draft202012Validator(schema.document())
    for frame in CORPUS[direction]:
        check.validate(json.loads(frame["json"]))
        whole.validate(json.loads(frame["json"]))


@pytest.mark.parametrize(
    "wrong", [{}, {"t": "nope"}, {"t": "ack"}, {"t": "ack", "usn": -1}, {"t": "rate", "ref": 1, "score": 9}, []]
)
def test_wrong_frames_are_not(wrong: Any) -> None:
    assert not validator("UserFrame").is_valid(wrong)


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(references(inner) for inner in value.values()))
    if isinstance(value, list):
        return set().union(*(references(inner) for inner in value))
    return set()


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    document = asyncapi.document()
    for reference in references(document):
        target: Any = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]


def test_the_asyncapi_document_has_every_frame_of_each_direction() -> None:
    document = asyncapi.document()
    assert document["asyncapi"] == "3.0.0"
    assert {channel["address"] for channel in document["channels"].values()} == {"/v1/chat", "/v1/desk"}
    unions = {
        "receive_chat": UserFrame,
        "send_chat": UserServerFrame,
        "receive_desk": DeskFrame,
        "send_desk": DeskServerFrame,
    }
    for operation, union in unions.items():
        listed = [message["$ref"].rsplit("/", 1)[1] for message in document["operations"][operation]["messages"]]
        assert listed == [frame.__name__ for frame in union.__args__]


def test_writing_checking_and_misuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.json"
    assert schema.command(path, {"a": 1}, "m", ["--check"]) == 1
    assert "run python -m m" in capsys.readouterr().err
    assert schema.command(path, {"a": 1}, "m", []) == 0
    assert path.read_text() == '{\n  "a": 1\n}\n'
    assert schema.command(path, {"a": 1}, "m", ["--check"]) == 0
    assert schema.command(path, {"a": 2}, "m", ["--check"]) == 1
    assert schema.command(path, {"a": 2}, "m", ["--force"]) == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize("module", ["sdk_protocol.schema", "sdk_protocol.asyncapi"])
def test_the_commands(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "argv", [module, "--check"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module(module, run_name="__main__")
    assert end.value.code == 0


def test_the_package_imports_nothing_but_the_standard_library_and_msgspec() -> None:
    script = (
        "import sys, sdk_protocol.asyncapi, sdk_protocol.client_session, sdk_protocol.server_session, "
        "sdk_protocol.desk_session\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    run = subprocess.run([sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n" + script],
                         check=True, capture_output=True, text=True)  # fmt: skip
    loaded = set(run.stdout.split())
    assert "asyncio" not in loaded
    for name in ("server", "push", "admin_api", "asyncpg", "starlette", "websockets"):
        assert name not in loaded
