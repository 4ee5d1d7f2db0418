"""What the fake FCM can be told to do wrong, by name, and the bodies the real one sends then.

Shapes from Google's error model (google.rpc.Status) and the FCM v1 reference, "ErrorCode".
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.support.provider_server import Answer

ERRORS: dict[str, tuple[int, str, str | None]] = {
    # name: HTTP status, google.rpc status, FcmError errorCode
    "invalid_argument": (400, "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
    "unauthenticated": (401, "UNAUTHENTICATED", None),
    "third_party_auth": (401, "UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR"),
    "sender_mismatch": (403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH"),
    "permission_denied": (403, "PERMISSION_DENIED", None),
    "unregistered": (404, "NOT_FOUND", "UNREGISTERED"),
    "not_found": (404, "NOT_FOUND", None),
    "quota": (429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"),
    "internal": (500, "INTERNAL", "INTERNAL"),
    "unavailable": (503, "UNAVAILABLE", "UNAVAILABLE"),
}
TOKEN_ERRORS: dict[str, tuple[int, dict[str, str]]] = {
    "invalid_grant": (400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}),
    "invalid_client": (401, {"error": "invalid_client", "error_description": "The account was deleted."}),
    "quota": (429, {"error": "rate_limit_exceeded"}),
    "unavailable": (503, {"error": "backend_error"}),
}
CONNECTION_FAULTS = ("slow", "drop", "hang", "raw")


@dataclass(frozen=True, slots=True)
class Fault:
    """One request's fate.

    name: a key of `ERRORS` (or `TOKEN_ERRORS` at the token endpoint), `slow` (answers 200 after `delay`), `drop`
        (reads the request and cuts the connection), `hang` (reads it and never answers) or `raw` (answers `status` and
        `body`).
    deliver: the phone gets the message although the sender hears otherwise.
    delay: seconds before any of it.
    retry_after: sent as the header.
    """

    name: str
    deliver: bool = False
    delay: float = 0.0
    retry_after: str | None = None
    status: int = 200
    body: str = ""

    def __post_init__(self) -> None:
        if self.name not in (*ERRORS, *TOKEN_ERRORS, *CONNECTION_FAULTS):
            raise ValueError(f"name must be one of {', '.join((*ERRORS, *TOKEN_ERRORS, *CONNECTION_FAULTS))}")

    def answer(self, *, token_endpoint: bool = False) -> Answer:
        """The answer of a fault that has one."""
        headers = {"content-type": "application/json; charset=UTF-8"}
        if self.retry_after is not None:
            headers["retry-after"] = self.retry_after
        if self.name == "raw":
            return Answer(self.status, self.body.encode(), headers)
        if token_endpoint:
            status, fields = TOKEN_ERRORS[self.name]
            return Answer(status, json.dumps(fields).encode(), headers)
        status, body = google_error(self.name)
        return Answer(status, json.dumps(body).encode(), headers)


def google_error(name: str, message: str | None = None) -> tuple[int, dict[str, Any]]:
    """HTTP status and body of the error `name` as FCM words it."""
    status, rpc, code = ERRORS[name]
    error: dict[str, Any] = {"code": status, "message": message or f"The fake says {name}.", "status": rpc}
    if code is not None:
        error["details"] = [{"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code}]
    return status, {"error": error}
