"""`protocol.schema.json`: every frame as JSON Schema 2020-12, generated from the Structs.

`python -m sdk_protocol.schema` writes the file, `--check` fails if the committed one differs.
"""

import sys
from inspect import cleandoc
from pathlib import Path
from typing import Any

import msgspec

from sdk_protocol.frames import DeskFrame, DeskServerFrame, UserFrame, UserServerFrame

PATH = Path(__file__).with_name("protocol.schema.json")
DIRECTIONS = {
    "UserFrame": (UserFrame, "A frame from a user's device, on /v1/chat."),
    "UserServerFrame": (UserServerFrame, "A frame from the server, on /v1/chat."),
    "DeskFrame": (DeskFrame, "A frame from an agent's desk, on /v1/desk."),
    "DeskServerFrame": (DeskServerFrame, "A frame from the server, on /v1/desk."),
}


def components(ref_template: str) -> dict[str, Any]:
    """Schemas by name: one for each frame and record, one for each direction (`oneOf` with a discriminator `t`)."""
    unions, named = msgspec.json.schema_components(
        [union for union, _ in DIRECTIONS.values()], ref_template=ref_template
    )
    for (name, (_, description)), union in zip(DIRECTIONS.items(), unions, strict=True):
        # Tagged: exactly one can match, which is what `oneOf` says and `anyOf` does not.
        named[name] = {"description": description, "oneOf": union["anyOf"], "discriminator": union["discriminator"]}
    for content in named.values():
        content["description"] = cleandoc(content["description"])
    return dict(sorted(named.items()))


def document() -> dict[str, Any]:
    """The whole schema. A program validates one direction with `#/$defs/UserFrame` and the like."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Deskbell wire protocol, version 1",
        "description": "Frames of docs/protocol.md. MessagePack frames have the same fields.",
        # Not `oneOf`: `ping`, `ok` and others travel in more than one direction.
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in DIRECTIONS],
        "$defs": components("#/$defs/{name}"),
    }


def rendered(content: dict[str, Any]) -> str:
    """As it is committed: indented, one trailing newline."""
    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode() + "\n"


def command(path: Path, content: dict[str, Any], module: str, arguments: list[str]) -> int:
    """Write or check one generated file. 0: fine; 1: it differs; 2: wrong arguments."""
    if arguments == ["--check"]:
        if path.exists() and path.read_text("utf-8") == rendered(content):
            return 0
        print(f"{path.name} is not what the frames say: run python -m {module}", file=sys.stderr)
        return 1
    if arguments:
        print(f"usage: python -m {module} [--check]", file=sys.stderr)
        return 2
    path.write_text(rendered(content), "utf-8")
    return 0


def main(arguments: list[str]) -> int:
    """The command line; see the top."""
    return command(PATH, document(), "sdk_protocol.schema", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
