"""What the server tells about itself: logs without secrets, and numbers for Prometheus.

Logs go to stderr, since stdout belongs to what a command answers (`demo --json`). Ids of the request and the
conversation are bound once (`log_context`) and appear on every line below it, libraries' lines included.
"""

from __future__ import annotations

import logging
import re
import sys
from bisect import bisect_left
from collections import defaultdict
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TextIO

import prometheus_client
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping, Sequence
    from contextlib import AbstractContextManager

    from structlog.typing import FilteringBoundLogger, Processor

REDACTED = "[redacted]"

_SECRET_WORDS = frozenset(
    {"token", "secret", "password", "authorization", "cookie", "credential", "credentials", "jwt"}
)
_SECRET_KEYS = frozenset({"server_key", "secret_key", "private_key", "api_key", "database_url", "redis_url", "dsn"})
_HARMLESS_ENDS = ("_at", "_id", "_count", "_s")  # token_expires_at says when, not what
_SECRET_TEXT = re.compile(
    r"(?P<url>\w+://[^\s:/@]*:)[^\s/@]+(?=@)"  # the password of a URL
    r"|\b(?:dbs|dba|whsec)_[\w+/=-]{6,}"  # our own keys and tokens
    r"|\beyJ[\w-]{4,}\.[\w-]{4,}\.[\w-]*"  # a JWT
    r"|(?P<scheme>\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}",
    re.IGNORECASE,
)


def configure_logging(level: str, format: str, stream: TextIO | None = None) -> None:
    """Send structlog's and the standard library's records to `stream` (stderr) in one shape.

    `level`: debug, info, warning or error. `format`: json, console, or auto (console when `stream` is a terminal).
    Calling it again replaces what stood.
    """
    stream = stream if stream is not None else sys.stderr
    console = format == "console" or (format == "auto" and stream.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        # As plain text: the richer renderers print local variables, and those hold tokens.
        structlog.processors.format_exc_info,
        redact,
    ]
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
        )
        if console
        else structlog.processors.JSONRenderer(ensure_ascii=False, default=str)
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder()],
            processors=[*shared, structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old.formatter, structlog.stdlib.ProcessorFormatter)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    # Their info lines name every request with its URL, and URLs of attachments are signed.
    for noisy in ("httpx", "httpcore", "google", "urllib3"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))


def get_logger(name: str) -> FilteringBoundLogger:
    """The logger of one module: `log = get_logger(__name__)`; events are short phrases, facts are keywords."""
    logger: FilteringBoundLogger = structlog.get_logger(name)
    return logger


def log_context(**ids: str) -> AbstractContextManager[None]:
    """Bind ids (`request=…, conversation=…, user=…`) to every line written inside, in this task and its children."""
    return structlog.contextvars.bound_contextvars(**ids)


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The last step before a line is rendered: values under secret names go, and what looks like a secret in texts."""
    for key, value in event.items():
        if not key.startswith("_"):  # _record and _from_structlog are structlog's own
            event[key] = _clean(key, value)
    return event


def _clean(key: str, value: object) -> object:
    if _is_secret(key) and value is not None and not isinstance(value, bool):
        return REDACTED
    if isinstance(value, str):
        return _SECRET_TEXT.sub(_mask, value)
    if isinstance(value, dict):
        return {inner: _clean(str(inner), content) for inner, content in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(key, content) for content in value]
    if value is None or isinstance(value, int | float):
        return value
    return _SECRET_TEXT.sub(_mask, str(value))


def _is_secret(key: str) -> bool:
    key = key.lower().replace("-", "_")
    if key in _SECRET_KEYS:
        return True
    return not key.endswith(_HARMLESS_ENDS) and not _SECRET_WORDS.isdisjoint(key.split("_"))


def _mask(match: re.Match[str]) -> str:
    return f"{match['url'] or match['scheme'] or ''}{REDACTED}"


class FrameCounts(Collector):
    """A counter by door and tag. Counted on the loop, so without the lock that makes the library's ten times dearer."""

    def __init__(self, name: str, documentation: str) -> None:
        self._name, self._documentation = name, documentation
        self._counts: defaultdict[tuple[str, type], int] = defaultdict(int)

    def count(self, door: str, kind: type) -> None:
        """A frame came in through `door`. `kind`: its struct, which knows its tag."""
        self._counts[door, kind] += 1

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(self._name, self._documentation, labels=["door", "t"])
        for (door, kind), count in self._counts.items():
            tag: str = kind.__struct_config__.tag  # type: ignore[attr-defined]  # a msgspec Struct
            family.add_metric([door, tag], count)
        yield family


class Durations(Collector):
    """A histogram of seconds. For the same reason not the library's."""

    def __init__(self, name: str, documentation: str, bounds: Sequence[float]) -> None:
        self._name, self._documentation = name, documentation
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def collect(self) -> Iterator[HistogramMetricFamily]:
        names = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        buckets = list(zip(names, accumulate(self._counts), strict=True))
        yield HistogramMetricFamily(self._name, self._documentation, buckets=buckets, sum_value=self._sum)


class Metrics:
    """The numbers of one process on a registry of its own, so that two servers can live in one test.

    Seconds everywhere. Label values are closed sets (route templates, never paths): a label a client can choose would
    let it fill the memory.
    """

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self) -> None:
        # The *_created twins would double the page.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # it lacks annotations
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.connections = Gauge("deskbell_connections", "Open sockets.", ["door"], registry=registry)
        self.refused_sockets = Counter(
            "deskbell_refused_sockets", "Handshakes answered 503 because too many came at once.", registry=registry
        )
        self.frames = FrameCounts("deskbell_frames", "Frames received, by tag.")
        registry.register(self.frames)
        self.commits = Counter("deskbell_commits", "Transactions of the writer.", registry=registry)
        self.commit_items = Counter("deskbell_commit_items", "Events and other items they wrote.", registry=registry)
        self.commit_batch_size = Histogram(
            "deskbell_commit_batch_size",
            "Items in one transaction of the writer.",
            buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500),
            registry=registry,
        )
        self.ok_latency = Durations(
            "deskbell_ok_latency_seconds",
            "From a frame that writes to its ok.",
            (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )
        registry.register(self.ok_latency)
        self.outbox_oldest = Gauge(
            "deskbell_outbox_oldest_seconds", "Age of the oldest push that is due.", registry=registry
        )
        self.push_outcomes = Counter(
            "deskbell_push_outcomes", "Answers of push providers.", ["provider", "outcome"], registry=registry
        )
        self.webhooks_oldest = Gauge(
            "deskbell_webhooks_oldest_seconds",
            "How long a webhook has been due that nobody works on, of endpoints that are well.",
            registry=registry,
        )
        self.webhook_outcomes = Counter(
            "deskbell_webhook_outcomes", "What became of calls of webhooks.", ["outcome"], registry=registry
        )
        self.actions_oldest = Gauge(
            "deskbell_actions_oldest_seconds",
            "How long an action has been due that nobody works on.",
            registry=registry,
        )
        self.action_outcomes = Counter(
            "deskbell_action_outcomes",
            "What apps' servers answered to calls of actions.",
            ["outcome"],
            registry=registry,
        )
        self.http_requests = Counter(
            "deskbell_http_requests", "Requests answered.", ["route", "method", "status"], registry=registry
        )
        self.sweep_late = Gauge("deskbell_sweep_late_seconds", "How late the last sweep began.", registry=registry)
        self.errors = Counter("deskbell_errors", "Errors told to clients, by code.", ["code"], registry=registry)

    def render(self) -> bytes:
        """The page of `/metrics` in the Prometheus text format (`content_type`)."""
        return prometheus_client.generate_latest(self.registry)
