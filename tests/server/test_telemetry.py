from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from sdk_protocol.frames import Send
from server.telemetry import REDACTED, Metrics, configure_logging, get_logger, log_context

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Logging is global: put back what stood, for the tests that follow."""
    root = logging.getLogger()
    handlers, level, config = root.handlers[:], root.level, structlog.get_config()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**config)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_with_its_ids() -> None:
    stream = io.StringIO()
    configure_logging("info", "auto", stream)
    with log_context(request="r-1"), log_context(conversation="c-1"):
        get_logger("server.x").info("message stored", seq=3)
    get_logger("server.x").debug("too quiet")
    get_logger("server.x").info("outside")
    first, second = lines(stream)
    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "event": "message stored",
        "level": "info",
        "logger": "server.x",
        "request": "r-1",
        "conversation": "c-1",
        "seq": 3,
    }
    assert "request" not in second


def test_libraries_write_the_same_lines() -> None:
    stream = io.StringIO()
    configure_logging("info", "json", stream)
    with log_context(request="r-1"):
        logging.getLogger("uvicorn").warning("hello %s", "you", extra={"token": "abc"})
        logging.getLogger("httpx").info("GET https://x/?signature=1")
    (line,) = lines(stream)
    assert (line["event"], line["logger"], line["request"]) == ("hello you", "uvicorn", "r-1")
    assert line["token"] == REDACTED


def test_no_secret_is_written() -> None:
    stream = io.StringIO()
    configure_logging("info", "json", stream)
    jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl"
    log = get_logger("server.x")
    log.info(
        f"refused {jwt}",
        token="hunter2",
        push_token="hunter2",
        headers={"Authorization": "hunter2", "X-CSRF-Token": "hunter2", "Accept": "*/*"},
        accounts=[{"password": "hunter2", "email": "ada@example.com"}],
        note="Bearer hunter2hunter2 and dba_hunter2hunter2",
        dsn="hunter2",
        url="postgresql://u:hunter2@db/x",
        key=ValueError("dbs_hunter2hunter2"),
        token_expires_at="2026-01-01",
        has_token=True,
        secret=None,
        seconds=1.5,
    )
    try:
        raise RuntimeError("cannot reach redis://:hunter2@cache/0")
    except RuntimeError:
        local_token = "hunter2"
        log.exception("failed")
        assert local_token
    written = stream.getvalue()
    assert "hunter2" not in written
    assert jwt not in written
    first, second = lines(stream)
    assert first["accounts"] == [{"password": REDACTED, "email": "ada@example.com"}]
    assert first["headers"] == {"Authorization": REDACTED, "X-CSRF-Token": REDACTED, "Accept": "*/*"}
    assert first["url"] == f"postgresql://u:{REDACTED}@db/x"
    assert (first["token_expires_at"], first["has_token"], first["secret"]) == ("2026-01-01", True, None)
    assert "RuntimeError: cannot reach redis://:" in second["exception"]


def test_a_person_reads_plain_text() -> None:
    stream = io.StringIO()
    configure_logging("info", "console", stream)
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        get_logger("server.x").exception("failed", conversation="c-1")
    text = stream.getvalue()
    assert "failed" in text
    assert "conversation=c-1" in text
    assert "RuntimeError: broken" in text


def test_configuring_again_replaces() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure_logging("info", "json", first)
    configure_logging("error", "json", second)
    get_logger("server.x").info("quiet")
    get_logger("server.x").error("loud")
    assert first.getvalue() == ""
    assert [line["event"] for line in lines(second)] == ["loud"]


def test_two_processes_in_one_test_do_not_share_numbers() -> None:
    one, two = Metrics(), Metrics()
    one.connections.labels(door="chat").inc()
    one.frames.count("chat", Send)
    one.frames.count("chat", Send)
    for seconds in (0.0005, 0.001, 0.3, 60):
        one.ok_latency.observe(seconds)
    one.commits.inc()
    one.commit_items.inc(7)
    one.commit_batch_size.observe(7)
    one.ok_latency.observe(0.003)
    one.outbox_oldest.set(1.5)
    one.push_outcomes.labels(provider="fcm", outcome="sent").inc()
    one.http_requests.labels(route="/livez", method="GET", status="200").inc()
    one.sweep_late.set(0.25)
    one.errors.labels(code="bad_request").inc()
    page = one.render().decode()
    for line in (
        'deskbell_connections{door="chat"} 1.0',
        'deskbell_frames_total{door="chat",t="send"} 2.0',
        "deskbell_commits_total 1.0",
        "deskbell_commit_items_total 7.0",
        'deskbell_commit_batch_size_bucket{le="10.0"} 1.0',
        'deskbell_ok_latency_seconds_bucket{le="0.001"} 2.0',
        'deskbell_ok_latency_seconds_bucket{le="0.25"} 3.0',
        'deskbell_ok_latency_seconds_bucket{le="0.5"} 4.0',
        'deskbell_ok_latency_seconds_bucket{le="+Inf"} 5.0',
        "deskbell_ok_latency_seconds_count 5.0",
        "deskbell_ok_latency_seconds_sum 60.3045",
        "deskbell_outbox_oldest_seconds 1.5",
        'deskbell_push_outcomes_total{outcome="sent",provider="fcm"} 1.0',
        'deskbell_http_requests_total{method="GET",route="/livez",status="200"} 1.0',
        "deskbell_sweep_late_seconds 0.25",
        'deskbell_errors_total{code="bad_request"} 1.0',
    ):
        assert line in page.splitlines()
    assert "_created" not in page
    assert "deskbell_commits_total 0.0" in two.render().decode().splitlines()
    assert Metrics.content_type.startswith("text/plain; version=0.0.4")
