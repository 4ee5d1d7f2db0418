"""The only file that touches firebase-admin: its encoder, its request and its error mapping, on a connection of ours.

firebase-admin 7.7 does not let its connection, its retries or its credentials be chosen, and each of them has a trap
(docs/push.md). `_Messaging` therefore takes the part that talks FCM and leaves the construction of the rest away: no
App, no google-auth credential, no client of its own, hence nothing that retries, refreshes, starts threads or outlives
a loop.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, TypeAlias

import firebase_admin
import httpx
from firebase_admin import exceptions, messaging

from push.retry_after import retry_after_seconds
from push.sender import ConfigFault, Outcome, Rejected, Retry, Sent, TokenGone

if TYPE_CHECKING:
    from collections.abc import Mapping

# httpx loads these on the first request, which would stall the event loop at the first push (measured: 130 ms).
for _module in ("httpcore", "h2", "anyio._backends._asyncio"):
    importlib.import_module(_module)

THROTTLED_SECONDS = 60.0
"""FCM: without a Retry-After a 429 means a minute (firebase.google.com/docs/cloud-messaging/scale-fcm)."""
REASON_CHARS = 300

Json: TypeAlias = dict[str, Any]


class Unauthenticated(Exception):
    """FCM did not accept the access token; nothing was sent. A fresh one may help, once."""


class BrokenConnection(Exception):
    """Something is wrong with the connection, not with the message: do not send on it again."""

    def __init__(self, outcome: Retry) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


class _OneRequest:
    """What firebase-admin takes for its HTTP client. Remembers the answer, because its error mapping gives up on bodies
    that are not what Google sends (a proxy's page, `{"error": "text"}`) and then not even the status is left."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self.response: httpx.Response | None = None

    async def request(self, method: str, url: str, headers: Mapping[str, str], json: Json) -> httpx.Response:
        self.response = await self._client.request(method, url, headers=headers, json=json)
        return self.response.raise_for_status()


class _Messaging(messaging._MessagingService):  # type: ignore[misc]  # untyped base
    """One send of firebase-admin."""

    def __init__(self, url: str, access_token: str, http: _OneRequest) -> None:
        # The base's constructor is left out on purpose: it builds the clients, retries and credential with the traps.
        self._fcm_url = url
        self._fcm_headers = {
            "Authorization": f"Bearer {access_token}",
            "X-GOOG-API-FORMAT-VERSION": "2",
            "X-FIREBASE-CLIENT": f"fire-admin-python/{firebase_admin.__version__}",
        }
        self._async_client = http


def send_url(endpoint: str, project_id: str) -> str:
    """Where messages of `project_id` are posted. `endpoint` stands in for `https://fcm.googleapis.com`."""
    google: str = messaging._MessagingService.FCM_URL
    return google.format(project_id).replace("https://fcm.googleapis.com", endpoint, 1)


def encode(message: Json) -> Json:
    """`message` (see push/payload.py) as firebase-admin validates and encodes it. Raises ValueError if it refuses."""
    encoded: Json = messaging._MessagingService.encode_message(_to_firebase(message))
    return encoded


async def post(client: httpx.AsyncClient, url: str, access_token: str, message: Json, *, now: float) -> Outcome:
    """Send one message with one request.

    Raises Unauthenticated if the token was not accepted, BrokenConnection if the client should not be used again.
    """
    http = _OneRequest(client)
    try:
        # One message a call: a batch that fails once loses the results of all the others.
        batch = await _Messaging(url, access_token, http).send_each_async([_to_firebase(message)], dry_run=False)
    except exceptions.UnknownError as error:
        return _outcome(error, http.response, now)
    answer = batch.responses[0]
    if answer.success:
        return Sent(str(answer.message_id))
    return _outcome(answer.exception, http.response, now)


def _outcome(error: Exception | None, response: httpx.Response | None, now: float) -> Outcome:
    """The answer of FCM in our words; the table is in docs/push.md."""
    if response is None:
        raise BrokenConnection(_transport_fault(error)) from error
    status = response.status_code
    reason = _reason(error, status)
    if isinstance(error, messaging.UnregisteredError):
        return TokenGone(f"UNREGISTERED: {reason}")
    if isinstance(error, messaging.SenderIdMismatchError):
        return TokenGone(f"SENDER_ID_MISMATCH: {reason}")
    if isinstance(error, messaging.ThirdPartyAuthError):
        return ConfigFault(f"THIRD_PARTY_AUTH_ERROR: {reason}; check the APNs key or the web push keys in the console")
    retry_after = retry_after_seconds(response.headers.get("retry-after"), now=now)
    if status == 429 or isinstance(error, messaging.QuotaExceededError):
        wait = THROTTLED_SECONDS if retry_after is None else retry_after
        return Retry(reason, retry_after=wait, throttled=True)
    if status >= 500 or status == 408 or status < 300:
        # 2xx without a message's name is not an explicit acceptance, yet may well be one.
        return Retry(reason, retry_after=retry_after, ambiguous=True)
    if status == 401:
        raise Unauthenticated(reason)
    if status == 403:
        return ConfigFault(f"{reason}; may this service account send for this project?")
    if status < 400 or _is_no_answer_of_fcm(response):
        return ConfigFault(f"{reason}; is the endpoint FCM's, and the project the credentials' one?")
    return Rejected(reason)


def _is_no_answer_of_fcm(response: httpx.Response) -> bool:
    """A 404 or 405 of something that is not FCM would condemn every message, so it is no verdict on this one."""
    if response.status_code not in (404, 405):
        return False
    try:
        answer = response.json()
    except ValueError:
        return True
    return not (isinstance(answer, dict) and isinstance(answer.get("error"), dict))


def _transport_fault(error: Exception | None) -> Retry:
    cause = getattr(error, "cause", None) or error
    # Only before the connection stands is it certain that FCM has not seen the message.
    unsent = isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    return Retry(f"{type(cause).__name__}: {cause}"[:REASON_CHARS], ambiguous=not unsent)


def _reason(error: Exception | None, status: int) -> str:
    text = " ".join(str(error or "answer without a message name").split())
    return f"HTTP {status}: {text}"[:REASON_CHARS]


def _to_firebase(message: Json) -> Any:
    """push/payload.py's object as firebase-admin's classes. Knows the fields payload.py writes, no others."""
    android, apns, webpush = message["android"], message["apns"], message.get("webpush")
    built = messaging.Message(
        data=message["data"],
        notification=messaging.Notification(**message["notification"]) if "notification" in message else None,
        android=messaging.AndroidConfig(
            priority=android["priority"],
            ttl=int(android["ttl"].removesuffix("s")),
            notification=_android_notification(android.get("notification")),
        ),
        apns=messaging.APNSConfig(headers=apns["headers"], payload=_apns_payload(apns.get("payload"))),
        webpush=None if webpush is None else _webpush(webpush),
        fid=message.get("fid"),
    )
    # Set afterwards: the constructor warns about `token`, which is deprecated but what most devices still have.
    built.token = message.get("token")
    return built


def _android_notification(fields: Json | None) -> Any:
    if fields is None:
        return None
    priority = fields.get("notification_priority")
    return messaging.AndroidNotification(
        tag=fields["tag"],
        sound=fields.get("sound"),
        channel_id=fields.get("channel_id"),
        notification_count=fields.get("notification_count"),
        priority=None if priority is None else priority.removeprefix("PRIORITY_").lower(),
    )


def _apns_payload(fields: Json | None) -> Any:
    if fields is None:
        return None
    aps = fields["aps"]
    return messaging.APNSPayload(
        messaging.Aps(
            badge=aps.get("badge"), sound=aps.get("sound"), content_available="content-available" in aps or None
        )
    )


def _webpush(fields: Json) -> Any:
    shown = fields.get("notification")
    return messaging.WebpushConfig(
        headers=fields["headers"], notification=None if shown is None else messaging.WebpushNotification(**shown)
    )
