"""What an operator may choose: one frozen section per concern, read once at start.

Precedence: command line, then environment (`DESKBELL_*`), then a TOML file, then the defaults below. Every value takes
the same way in, as text through one parser, so the same mistake reads the same wherever it was made: a bad value is one
line that names the variable, what is wrong and what is expected (`ConfigError`, exit code 2). `VARIABLES` is the whole
list; `deskbell serve --help` prints it (http.md, "Command line").
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import msgspec

from server.config_values import (
    Network,
    Parser,
    RateLimit,
    Secret,
    credentials,
    days,
    folder,
    networks,
    one_of,
    rate,
    seconds,
    secret_key,
    switch,
    url_of,
    whole,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["VARIABLES", "Config", "ConfigError", "RateLimit", "Secret", "describe_variables"]

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "console"]


class ConfigError(Exception):
    """A configuration the server cannot start with. `str()` is one line for a person and holds no secret."""

    exit_code: ClassVar[int] = 2


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """One concern. Fields in `hidden` may carry passwords and never appear in its repr."""

    hidden: ClassVar[frozenset[str]] = frozenset()

    def __repr__(self) -> str:
        shown = (
            f"{name}={'…' if name in self.hidden and value is not None else repr(value)}"
            for name, value in ((field, getattr(self, field)) for field in self.__struct_fields__)
        )
        return f"{type(self).__name__}({', '.join(shown)})"


class DatabaseConfig(Section, frozen=True, kw_only=True):
    """`url` None means the embedded PostgreSQL under `data_dir`, which also holds whatever else is kept on disk."""

    hidden: ClassVar[frozenset[str]] = frozenset({"url"})
    url: str | None = None
    data_dir: Path
    min_connections: int = 2
    max_connections: int = 12


class RedisConfig(Section, frozen=True, kw_only=True):
    """`url` None means one node: the bus stays in the process, or on the machine where several workers share it."""

    hidden: ClassVar[frozenset[str]] = frozenset({"url"})
    url: str | None = None


class ProcessConfig(Section, frozen=True, kw_only=True):
    """`workers`: processes that share the ports of one `deskbell serve` (docs/operations.md)."""

    workers: int = 1


class HttpConfig(Section, frozen=True, kw_only=True):
    """`gateway_port` None: the sockets share `port`. Port 0 takes a free one. `public_url` has no trailing slash."""

    host: str = "127.0.0.1"
    port: int = 8080
    gateway_port: int | None = None
    public_url: str | None = None


class SecretsConfig(Section, frozen=True, kw_only=True):
    """The key that encrypts what must be kept but not read (≥32 characters); None: one is made in the data folder."""

    secret_key: Secret | None = None


class PushConfig(Section, frozen=True, kw_only=True):
    """`fcm_credentials`: a service account's file, or its JSON as text. Seconds throughout (push.md)."""

    hidden: ClassVar[frozenset[str]] = frozenset({"fcm_credentials"})
    fcm_credentials: Path | str | None = None
    fcm_endpoint: str | None = None
    grace_s: float = 4.0
    lease_s: float = 30.0
    preview: bool = True


class RetentionConfig(Section, frozen=True, kw_only=True):
    """`days` after its last event the words of a resolved conversation go; None keeps them."""

    days: float | None = None


class NetworkConfig(Section, frozen=True, kw_only=True):
    """Private networks that webhooks, actions and the context provider may reach; none by default (SSRF)."""

    allow_private_targets: tuple[Network, ...] = ()


class LimitsConfig(Section, frozen=True, kw_only=True):
    """Bytes unless the name ends in `_events`. Defaults are protocol.md's ("Transport", S6). `frame_bytes` and
    `text_bytes` are the protocol's own: told to clients from here, but no operator can change them."""

    rate_limit_sends: RateLimit | None = RateLimit(600, 10)
    frame_bytes: int = 64 * 1024
    text_bytes: int = 16 * 1024
    body_bytes: int = 1024 * 1024
    batch_bytes: int = 8 * 1024 * 1024
    window_events: int = 64
    window_bytes: int = 256 * 1024


class SocketsConfig(Section, frozen=True, kw_only=True):
    """Seconds (protocol.md, "Keeping alive, draining" and S5)."""

    hello_s: float = 10.0
    ping_interval_s: float = 25.0
    pong_s: float = 10.0
    stalled_s: float = 60.0
    token_grace_s: float = 25.0
    admit: RateLimit | None = RateLimit(500, 1)
    drain_s: float = 10.0
    sweep_s: float = 1.5


class LoggingConfig(Section, frozen=True, kw_only=True):
    """`auto` is for a person on a terminal and JSON everywhere else."""

    level: LogLevel = "info"
    format: LogFormat = "auto"


class Variable(msgspec.Struct, frozen=True):
    """One choice: `name` in the environment, `target` (section.field) in TOML, `option` as keyword of `Config.load`."""

    suffix: str
    target: str
    parse: Parser
    meaning: str
    secret: bool = False  # its value is never repeated in a message, and NAME_FILE may name a file that holds it

    @property
    def name(self) -> str:
        return f"DESKBELL_{self.suffix}"

    @property
    def option(self) -> str:
        return self.suffix.lower()

    def default(self) -> str:
        """The default as an operator would write it."""
        section, _, name = self.target.partition(".")
        if name == "data_dir":
            return "$XDG_DATA_HOME/deskbell or ~/.local/share/deskbell"
        value = {field.name: field.default for field in msgspec.structs.fields(SECTIONS[section])}[name]
        if value is None or value == ():
            return "none"
        if isinstance(value, bool):
            return str(value).lower()
        return f"{value:g}" if isinstance(value, float) else str(value)


_BYTES = whole(1024, 1 << 30)

SECTIONS: dict[str, type[Section]] = {
    "database": DatabaseConfig,
    "redis": RedisConfig,
    "process": ProcessConfig,
    "http": HttpConfig,
    "secrets": SecretsConfig,
    "push": PushConfig,
    "retention": RetentionConfig,
    "network": NetworkConfig,
    "limits": LimitsConfig,
    "sockets": SocketsConfig,
    "logging": LoggingConfig,
}

# fmt: off
VARIABLES: tuple[Variable, ...] = (
    Variable("DATABASE_URL", "database.url", url_of("postgresql", "postgres"), "PostgreSQL ≥15; none: embedded", True),
    Variable("DATA_DIR", "database.data_dir", folder, "folder of the embedded PostgreSQL and keys"),
    Variable("DATABASE_MIN_CONNECTIONS", "database.min_connections", whole(1, 1000), "connections kept open"),
    Variable("DATABASE_MAX_CONNECTIONS", "database.max_connections", whole(2, 1000), "most connections of a process"),
    Variable("REDIS_URL", "redis.url", url_of("redis", "rediss", "unix"), "bus between nodes; none: one node", True),
    Variable("WORKERS", "process.workers", whole(1, 64), "processes of one `serve`"),
    Variable("HOST", "http.host", str, "address to listen on"),
    Variable("PORT", "http.port", whole(0, 65535), "port of all doors; 0 takes a free one"),
    Variable("GATEWAY_PORT", "http.gateway_port", whole(0, 65535), "port of the sockets; none: the same"),
    Variable("PUBLIC_URL", "http.public_url", url_of("http", "https", bare=True), "how the outside reaches this"),
    Variable("SECRET_KEY", "secrets.secret_key", secret_key, "encrypts stored secrets; none: one is made", True),
    Variable("FCM_CREDENTIALS", "push.fcm_credentials", credentials, "Firebase account: its file or JSON", True),
    Variable("FCM_ENDPOINT", "push.fcm_endpoint", url_of("http", "https", bare=True), "instead of https://fcm.googleapis.com"),
    Variable("PUSH_GRACE_SECONDS", "push.grace_s", seconds(0, 600), "time for an open app to acknowledge"),
    Variable("PUSH_LEASE_SECONDS", "push.lease_s", seconds(1, 3600), "time a worker may hold a push"),
    Variable("PUSH_PREVIEW", "push.preview", switch, "message text in notifications"),
    Variable("RETENTION_DAYS", "retention.days", days(0.01, 36_500), "resolved conversations keep their words"),
    Variable("ALLOW_PRIVATE_TARGETS", "network.allow_private_targets", networks, "networks webhooks may reach"),
    Variable("RATE_LIMIT_SENDS", "limits.rate_limit_sends", rate, "messages of one user: burst/seconds, or off"),
    Variable("MAX_BODY_BYTES", "limits.body_bytes", _BYTES, "largest request body"),
    Variable("MAX_BATCH_BYTES", "limits.batch_bytes", _BYTES, "largest body of a :batch request"),
    Variable("WINDOW_EVENTS", "limits.window_events", whole(1, 10_000), "events offered and not acknowledged"),
    Variable("WINDOW_BYTES", "limits.window_bytes", _BYTES, "bytes offered and not acknowledged"),
    Variable("ADMIT_SOCKETS", "sockets.admit", rate, "new sockets of a node: burst/seconds, or off"),
    Variable("HELLO_SECONDS", "sockets.hello_s", seconds(0.05, 600), "time to the first frame"),
    Variable("PING_SECONDS", "sockets.ping_interval_s", seconds(0.05, 3600), "between pings"),
    Variable("PONG_SECONDS", "sockets.pong_s", seconds(0.05, 600), "time to answer a ping"),
    Variable("STALLED_SECONDS", "sockets.stalled_s", seconds(0.05, 3600), "a slow reader's time without progress"),
    Variable("TOKEN_GRACE_SECONDS", "sockets.token_grace_s", seconds(0, 3600), "a socket outlives its token by this"),
    Variable("DRAIN_SECONDS", "sockets.drain_s", seconds(0, 600), "over which sockets leave at shutdown"),
    Variable("SWEEP_SECONDS", "sockets.sweep_s", seconds(0.05, 60), "between sweeps for lost wake-ups"),
    Variable("LOG_LEVEL", "logging.level", one_of("debug", "info", "warning", "error"), "least level written"),
    Variable("LOG_FORMAT", "logging.format", one_of("auto", "json", "console"), "auto: console on a terminal"),
)
# fmt: on

CONFIG_FILE = "DESKBELL_CONFIG"
"""Names the TOML file when the command line does not."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """All choices of one process. `warnings` are lines to log once logging stands."""

    database: DatabaseConfig
    redis: RedisConfig = RedisConfig()
    process: ProcessConfig = ProcessConfig()
    http: HttpConfig = HttpConfig()
    secrets: SecretsConfig = SecretsConfig()
    push: PushConfig = PushConfig()
    retention: RetentionConfig = RetentionConfig()
    network: NetworkConfig = NetworkConfig()
    limits: LimitsConfig = LimitsConfig()
    sockets: SocketsConfig = SocketsConfig()
    logging: LoggingConfig = LoggingConfig()
    warnings: tuple[str, ...] = ()

    @classmethod
    def load(cls, environ: Mapping[str, str], toml: Path | None = None, **overrides: object) -> Config:
        """Read everything once.

        `overrides` are named like the variables without prefix (`port=9000`, `data_dir=…`); None means not given, so
        a command line's options can be passed as they are. Raises `ConfigError`; a file that cannot be read is one too.
        """
        unknown = overrides.keys() - {variable.option for variable in VARIABLES}
        if unknown:
            raise TypeError(f"no such configuration: {', '.join(sorted(unknown))}")
        if toml is None and environ.get(CONFIG_FILE):
            toml = Path(environ[CONFIG_FILE])
        texts = _read_toml(toml) if toml is not None else {}
        sections: dict[str, dict[str, object]] = {name: {} for name in SECTIONS}
        for variable in VARIABLES:
            found = _find(variable, environ, texts, overrides)
            if found is not None:
                section, _, field = variable.target.partition(".")
                sections[section][field] = _parse(variable, *found)
        sections["database"].setdefault("data_dir", _default_data_dir(environ))
        built = {name: section(**sections[name]) for name, section in SECTIONS.items()}
        config = cls(**cast("Any", built), warnings=tuple(_unknown_variables(environ)))
        _check_together(config)
        return config


def describe_variables() -> str:
    """The table for `serve --help`: a line per variable with its meaning and default."""
    width = max(len(variable.name) for variable in VARIABLES)
    lines = [f"{v.name:<{width}}  {v.meaning} [{v.default()}]" for v in VARIABLES]
    lines.append(f"{CONFIG_FILE:<{width}}  TOML file with the same choices, as [section] field [none]")
    files = ", ".join(f"{variable.name}_FILE" for variable in VARIABLES if variable.secret)
    return "\n".join([*lines, f"From a file instead: {files}"])


def _find(
    variable: Variable, environ: Mapping[str, str], texts: Mapping[str, str], overrides: Mapping[str, object]
) -> tuple[str, str] | None:
    """Where the value was found and its text. An empty environment variable counts as not set, as in a shell."""
    override = overrides.get(variable.option)
    if override is not None:
        return "--" + variable.option.replace("_", "-"), str(override)
    file_name = environ.get(variable.name + "_FILE") if variable.secret else None
    if file_name:
        if environ.get(variable.name):
            raise ConfigError(f"{variable.name} and {variable.name}_FILE are both set: keep one of them")
        try:
            return f"{variable.name}_FILE", Path(file_name).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as problem:
            raise ConfigError(f"{variable.name}_FILE: cannot read {file_name} ({_reason(problem)})") from None
    if environ.get(variable.name):
        return variable.name, environ[variable.name]
    text = texts.get(variable.target)
    return (f"{variable.target} in the TOML file", text) if text is not None else None


def _parse(variable: Variable, source: str, text: str) -> object:
    try:
        return variable.parse(text.strip())
    except ValueError as problem:
        shown = "its value" if variable.secret else f'"{text}"'
        raise ConfigError(f"{source}: {shown} will not do: {problem}") from None


def _read_toml(path: Path) -> dict[str, str]:
    """`section.field` → text. A key of nobody is an error here: the file is ours alone, so it can only be a slip."""
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise ConfigError(f"{path}: cannot read this configuration ({_reason(problem)})") from None
    known = {variable.target for variable in VARIABLES}
    texts: dict[str, str] = {}
    for section, content in document.items():
        for field, value in content.items() if isinstance(content, dict) else [("", content)]:
            key = f"{section}.{field}".rstrip(".")
            if key not in known:
                raise ConfigError(f"{path}: {key} is unknown{_near(key, known)}")
            if isinstance(value, dict):
                raise ConfigError(f"{path}: {key} is a table; give one value")
            texts[key] = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return texts


def _default_data_dir(environ: Mapping[str, str]) -> Path:
    base = environ.get("XDG_DATA_HOME")
    if base and Path(base).is_absolute():  # the XDG specification says to ignore a relative one
        return Path(base) / "deskbell"
    home = environ.get("HOME")
    return (Path(home) if home else Path.home()) / ".local" / "share" / "deskbell"


def _unknown_variables(environ: Mapping[str, str]) -> Iterator[str]:
    known = {variable.name for variable in VARIABLES} | {CONFIG_FILE}
    known |= {f"{variable.name}_FILE" for variable in VARIABLES if variable.secret}
    for name in sorted(environ):
        # DESKBELL_TEST_* steers the test suite, whose servers inherit it.
        if name.startswith("DESKBELL_") and not name.startswith("DESKBELL_TEST_") and name not in known:
            yield f"{name} is not a variable of Deskbell and is ignored{_near(name, known)}"


def _near(name: str, known: set[str]) -> str:
    matches = difflib.get_close_matches(name, known, n=2, cutoff=0.75)
    return f"; did you mean {' or '.join(matches)}?" if matches else ""


def _reason(problem: Exception) -> str:
    return problem.strerror or str(problem) if isinstance(problem, OSError) else str(problem)


def _check_together(config: Config) -> None:
    if config.database.min_connections > config.database.max_connections:
        raise ConfigError(
            f"DESKBELL_DATABASE_MIN_CONNECTIONS: {config.database.min_connections} is more than "
            f"DESKBELL_DATABASE_MAX_CONNECTIONS ({config.database.max_connections}): lower one or raise the other"
        )
