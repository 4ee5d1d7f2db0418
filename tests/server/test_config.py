from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from server.config import VARIABLES, Config, ConfigError, RateLimit, Secret, describe_variables

KEY = "k" * 40
HOME = {"HOME": "/home/ada"}


def refused(environ: dict[str, str], toml: Path | None = None, **overrides: object) -> str:
    with pytest.raises(ConfigError) as caught:
        Config.load(environ, toml, **overrides)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.exit_code == 2
    return message


def test_nothing_set_runs_embedded_on_one_node() -> None:
    config = Config.load(HOME)
    assert config.database.url is None
    assert config.database.data_dir == Path("/home/ada/.local/share/deskbell")
    assert config.redis.url is None
    assert (config.http.host, config.http.port, config.http.gateway_port) == ("127.0.0.1", 8080, None)
    assert config.secrets.secret_key is None
    assert config.network.allow_private_targets == ()
    assert config.limits.rate_limit_sends == RateLimit(600, 10)
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"XDG_DATA_HOME": "/data", **HOME}, "/data/deskbell"),
        ({"XDG_DATA_HOME": "relative", **HOME}, "/home/ada/.local/share/deskbell"),
        ({"XDG_DATA_HOME": "", **HOME}, "/home/ada/.local/share/deskbell"),
    ],
)
def test_default_data_folder_follows_xdg(environ: dict[str, str], expected: str) -> None:
    assert Config.load(environ).database.data_dir == Path(expected)


def test_without_a_home_the_account_tells_the_folder() -> None:
    assert Config.load({}).database.data_dir == Path.home() / ".local/share/deskbell"


def test_every_variable_reaches_its_field() -> None:
    environ = {
        "DESKBELL_DATABASE_URL": "postgresql://u:pw@one:5432,two:5432/deskbell",
        "DESKBELL_DATA_DIR": "/srv/deskbell",
        "DESKBELL_DATABASE_MIN_CONNECTIONS": "3",
        "DESKBELL_DATABASE_MAX_CONNECTIONS": "30",
        "DESKBELL_REDIS_URL": "rediss://:pw@cache/0",
        "DESKBELL_HOST": "0.0.0.0",
        "DESKBELL_PORT": "9000",
        "DESKBELL_GATEWAY_PORT": "9001",
        "DESKBELL_WORKERS": "4",
        "DESKBELL_PUBLIC_URL": "https://chat.example.com/",
        "DESKBELL_SECRET_KEY": KEY,
        "DESKBELL_FCM_CREDENTIALS": '{"type": "service_account"}',
        "DESKBELL_FCM_ENDPOINT": "http://127.0.0.1:9999",
        "DESKBELL_PUSH_GRACE_SECONDS": "0.5",
        "DESKBELL_PUSH_LEASE_SECONDS": "20",
        "DESKBELL_PUSH_PREVIEW": "off",
        "DESKBELL_ALLOW_PRIVATE_TARGETS": "10.0.0.0/8, fd00::/8,",
        "DESKBELL_RATE_LIMIT_SENDS": "20/2.5",
        "DESKBELL_MAX_BODY_BYTES": "2000000",
        "DESKBELL_MAX_BATCH_BYTES": "9000000",
        "DESKBELL_WINDOW_EVENTS": "32",
        "DESKBELL_WINDOW_BYTES": "100000",
        "DESKBELL_RETENTION_DAYS": "90",
        "DESKBELL_ADMIT_SOCKETS": "100/2",
        "DESKBELL_HELLO_SECONDS": "5",
        "DESKBELL_PING_SECONDS": "20",
        "DESKBELL_PONG_SECONDS": "7",
        "DESKBELL_STALLED_SECONDS": "30",
        "DESKBELL_TOKEN_GRACE_SECONDS": "12",
        "DESKBELL_DRAIN_SECONDS": "0",
        "DESKBELL_SWEEP_SECONDS": "1",
        "DESKBELL_LOG_LEVEL": "DEBUG",
        "DESKBELL_LOG_FORMAT": "json",
    }
    assert environ.keys() == {variable.name for variable in VARIABLES}
    config = Config.load({**environ, **HOME})
    assert config.warnings == ()
    plain = Config.load(HOME)
    for variable in VARIABLES:
        section, _, field = variable.target.partition(".")
        changed = getattr(getattr(config, section), field)
        assert changed != getattr(getattr(plain, section), field), variable.name
    assert config.http.public_url == "https://chat.example.com"
    assert config.secrets.secret_key == Secret(KEY)
    assert config.push.preview is False
    assert config.network.allow_private_targets == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    assert config.limits.rate_limit_sends == RateLimit(20, 2.5)
    assert config.logging.level == "debug"


def test_the_command_line_beats_the_environment_beats_the_file(tmp_path: Path) -> None:
    toml = tmp_path / "deskbell.toml"
    toml.write_text('[http]\nport = 1111\nhost = "0.0.0.0"\n[push]\npreview = false\n', "utf-8")
    assert Config.load({}, toml).http.port == 1111
    environ = {"DESKBELL_PORT": "2222"}
    config = Config.load(environ, toml, host=None)
    assert (config.http.port, config.http.host, config.push.preview) == (2222, "0.0.0.0", False)
    assert Config.load(environ, toml, port=3333).http.port == 3333


def test_an_empty_variable_counts_as_not_set() -> None:
    assert Config.load({"DESKBELL_PORT": "", "DESKBELL_SECRET_KEY_FILE": ""}).http.port == 8080


def test_the_file_can_be_named_by_the_environment(tmp_path: Path) -> None:
    toml = tmp_path / "deskbell.toml"
    toml.write_text('[network]\nallow_private_targets = ["10.0.0.0/8", "192.168.0.0/16"]\n', "utf-8")
    config = Config.load({"DESKBELL_CONFIG": str(toml)})
    assert config.warnings == ()
    assert len(config.network.allow_private_targets) == 2


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("PORT", "abc", "a whole number from 0 to 65535"),
        ("PORT", "70000", "a whole number from 0 to 65535"),
        ("PING_SECONDS", "soon", "seconds from 0.05 to 3600"),
        ("PING_SECONDS", "nan", "seconds from 0.05 to 3600"),
        ("PUSH_PREVIEW", "maybe", "true or false"),
        ("LOG_LEVEL", "loud", "debug, info, warning, error"),
        ("PUBLIC_URL", "chat.example.com", "https://"),
        ("PUBLIC_URL", "https://", "with a host"),
        ("PUBLIC_URL", "https://chat.example.com:port", "https://"),
        ("FCM_ENDPOINT", "ftp://x", "https://"),
        ("ALLOW_PRIVATE_TARGETS", "10.0.0.1/8", "10.0.0.0/8,fd00::/8"),
        ("RATE_LIMIT_SENDS", "3", "burst/seconds"),
        ("RATE_LIMIT_SENDS", "0/10", "burst/seconds"),
        ("RATE_LIMIT_SENDS", "many/10", "burst/seconds"),
    ],
)
def test_a_bad_value_is_named_shown_and_explained(name: str, value: str, expected: str) -> None:
    message = refused({f"DESKBELL_{name}": value})
    assert message.startswith(f'DESKBELL_{name}: "{value}" will not do: ')
    assert expected in message


def test_a_bad_option_is_named_as_on_the_command_line() -> None:
    assert refused({}, data_dir="x", log_level="loud").startswith("--log-level: ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://root:hunter2@db/x"),
        ("REDIS_URL", "http://:hunter2@cache"),
        ("SECRET_KEY", "hunter2"),
    ],
)
def test_a_bad_secret_is_never_repeated(name: str, value: str) -> None:
    message = refused({f"DESKBELL_{name}": value})
    assert message.startswith(f"DESKBELL_{name}: its value will not do: expected ")
    assert "hunter2" not in message


def test_credentials_must_be_there(tmp_path: Path) -> None:
    assert "there is no file" in refused({"DESKBELL_FCM_CREDENTIALS": str(tmp_path / "missing.json")})
    account = tmp_path / "account.json"
    account.write_text("{}", "utf-8")
    assert Config.load({"DESKBELL_FCM_CREDENTIALS": str(account)}).push.fcm_credentials == account


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(KEY + "\n", "utf-8")
    config = Config.load({"DESKBELL_SECRET_KEY_FILE": str(file)})
    assert config.secrets.secret_key is not None
    assert config.secrets.secret_key.reveal() == KEY
    assert config.warnings == ()
    both = {"DESKBELL_SECRET_KEY_FILE": str(file), "DESKBELL_SECRET_KEY": KEY}
    assert "both set" in refused(both)
    assert "cannot read" in refused({"DESKBELL_SECRET_KEY_FILE": str(tmp_path / "missing")})


def test_no_repr_shows_a_secret() -> None:
    config = Config.load(
        {
            "DESKBELL_SECRET_KEY": KEY,
            "DESKBELL_DATABASE_URL": "postgresql://u:hunter2@h/d",
            "DESKBELL_REDIS_URL": "redis://:hunter2@h",
            "DESKBELL_FCM_CREDENTIALS": '{"private_key": "hunter2"}',
        }
    )
    shown = f"{config!r} {config} {config.secrets.secret_key} {config.database} {config.push!r}"
    assert KEY not in shown
    assert "hunter2" not in shown
    assert "port=8080" in shown
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2


def test_an_unknown_variable_is_a_warning_with_the_near_ones() -> None:
    config = Config.load({"DESKBELL_DATABSE_URL": "x", "DESKBELL_ZZZ": "1", "DESKBELL_TEST_X": "1", "PATH": "/bin"})
    near, far = config.warnings
    assert near.startswith("DESKBELL_DATABSE_URL is not a variable of Deskbell and is ignored; did you mean ")
    assert "DESKBELL_DATABASE_URL" in near
    assert far == "DESKBELL_ZZZ is not a variable of Deskbell and is ignored"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[http]\nprot = 1\n", "http.prot is unknown; did you mean http.port"),
        ("port = 1\n", "port is unknown"),
        ("[http]\nport = {a = 1}\n", "http.port is a table"),
        ("[http\n", "cannot read this configuration"),
        ("[http]\nport = 'x'\n", 'http.port in the TOML file: "x" will not do'),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, content: str, expected: str) -> None:
    toml = tmp_path / "deskbell.toml"
    toml.write_text(content, "utf-8")
    assert expected in refused({}, toml)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    assert "No such file" in refused({}, tmp_path / "missing.toml")


def test_values_must_fit_together() -> None:
    assert "DESKBELL_DATABASE_MAX_CONNECTIONS" in refused({"DESKBELL_DATABASE_MIN_CONNECTIONS": "100"})


def test_a_slip_in_our_own_code_is_not_a_configuration_error() -> None:
    with pytest.raises(TypeError, match="prot"):
        Config.load({}, prot=1)


def test_the_help_lists_everything_with_defaults() -> None:
    text = describe_variables()
    for variable in VARIABLES:
        line = next(line for line in text.splitlines() if line.split()[0] == variable.name)
        assert line.endswith(f"[{variable.default()}]")
        assert len(line) < 140
    assert "DESKBELL_SECRET_KEY_FILE" in text


def test_each_default_can_be_written_as_the_help_shows_it() -> None:
    plain = Config.load(HOME)
    written = {v.name: v.default() for v in VARIABLES if v.default() != "none" and v.option != "data_dir"}
    assert Config.load({**written, **HOME}) == plain
