"""`asyncapi.json`: the two sockets as an AsyncAPI 3.0 document, from the same components as `protocol.schema.json`.

`document()` is what a server answers on `/asyncapi.json`. `python -m sdk_protocol.asyncapi` writes the committed copy
next to the package, `--check` fails if it differs.
"""

import sys
from pathlib import Path
from typing import Any

from sdk_protocol.codec import JSON, MSGPACK
from sdk_protocol.frames import DeskFrame, DeskServerFrame, UserFrame, UserServerFrame
from sdk_protocol.schema import command, components

PATH = Path(__file__).parent.parent / "asyncapi.json"
_CHANNELS = {
    "chat": ("/v1/chat", "The socket of an end user's device.", UserFrame, UserServerFrame),
    "desk": ("/v1/desk", "The socket of an agent's desk.", DeskFrame, DeskServerFrame),
}


def document() -> dict[str, Any]:
    """The document as JSON-like values, a new one each time."""
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    for name, (address, description, incoming, outgoing) in _CHANNELS.items():
        channel: dict[str, Any] = {
            "address": address,
            "description": description,
            "messages": {},
            "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
        }
        # AsyncAPI's actions are those of the application described: this server receives what clients send.
        for action, union in (("receive", incoming), ("send", outgoing)):
            keys = []
            for frame in union.__args__:
                key = frame.__name__
                messages[key] = _message(frame)
                channel["messages"][key] = {"$ref": f"#/components/messages/{key}"}
                keys.append({"$ref": f"#/channels/{name}/messages/{key}"})
            operations[f"{action}_{name}"] = {
                "action": action,
                "channel": {"$ref": f"#/channels/{name}"},
                "messages": keys,
            }
        channels[name] = channel
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Deskbell sockets",
            "version": "1.0.0",
            "description": "Frames of docs/protocol.md. "
            f"Subprotocols: {JSON.subprotocol} (text, the default), {MSGPACK.subprotocol} (binary, same fields).",
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": components("#/components/schemas/{name}")},
    }


def _message(frame: Any) -> dict[str, Any]:
    return {
        "name": frame.__struct_config__.tag,
        "summary": " ".join(frame.__doc__.split("\n\n")[0].split()),
        "payload": {"$ref": f"#/components/schemas/{frame.__name__}"},
    }


def main(arguments: list[str]) -> int:
    """The command line; see the top."""
    return command(PATH, document(), "sdk_protocol.asyncapi", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
