"""All settings of the connectors: one frozen object, from one TOML file and the environment.

The environment goes before the file: `DMCL_KAFKA__GROUP_ID=scan` is `group_id` of the table `[kafka]`. Lists and tables
are written as JSON there. `DMCL_CONFIG` names the file where the command line does not.

Read here and not by a library, because those leave out what they do not know: a misspelt variable would leave a daemon
to its defaults. Here it is an error, and so is a key of the file; both name the nearest that there is.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from connectors.daemon import WorkSettings
from connectors.dead_letters import DeadLetterSettings
from connectors.errors import SettingsError
from connectors.ledger import LedgerSettings
from connectors.media import MediaSettings
from connectors.pool import ScoringSettings
from connectors.service import ServiceSettings
from connectors.sources.kafka_consumer import KafkaSettings
from connectors.sources.sqs import SqsSourceSettings
from connectors.worker import WorkerSettings

PREFIX = "DMCL_"
CONFIG = "DMCL_CONFIG"
HIDDEN = "**********"

_NOT_OURS = re.compile(r"CONFIG|SERVICE_(HOST|PORT)|PORT(_.+)?|SERVICE_PORT_.+")
"""Kubernetes sets all but the first for a service that is called dmcl."""
_SHOWN = {
    *(
        "type",
        "topic",
        "bootstrap_servers",
        "security_protocol",
        "sasl_mechanism",
        "sasl_username",
        "event_mode",
    ),
    *(
        "queue_url",
        "dead_letter_queue_url",
        "endpoint_url",
        "region",
        "ssl_cafile",
        "ssl_certfile",
        "ssl_keyfile",
    ),
}
"""Texts in the tables of sources and sinks, which may hold anything, that are no secrets."""


class RaySettings(BaseModel):
    """What `dmcl s3 backfill --engine ray` takes of a cluster, which `RAY_ADDRESS` names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    actors: Annotated[int, Field(ge=1)] | None = None
    """Most of them, each with its scoring processes; as many as the cluster has room for without."""
    cpus: Annotated[float, Field(gt=0)] | None = None
    """Cores that an actor asks for; as many as scoring processes without."""
    gpus: Annotated[float, Field(ge=0)] = 0.0
    """GPUs that an actor asks for; also set `scoring.options.providers`."""


class Settings(BaseModel):
    """Everything that a deployment says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kafka: KafkaSettings | None = None
    """Of `dmcl kafka run`."""
    s3: SqsSourceSettings | None = None
    """Of `dmcl s3 run`."""
    sources: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Further sources by a name of yours, each with its `type`; of `dmcl source run NAME`."""
    sinks: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Where verdicts go, by names of yours, each with its `type`. All of them must confirm."""
    policy: str | None = None
    """A TOML file, or `package.module:object`; nothing is decided without."""
    scoring: ScoringSettings = ScoringSettings()
    media: MediaSettings = MediaSettings()
    ledger: LedgerSettings = LedgerSettings()
    worker: WorkerSettings = WorkerSettings()
    work: WorkSettings = WorkSettings()
    dead_letters: DeadLetterSettings = DeadLetterSettings()
    service: ServiceSettings = ServiceSettings()
    ray: RaySettings = RaySettings()

    @property
    def in_flight(self) -> int:
        """Messages under way at a time: while some are scored, as many are fetched or delivered."""
        return self.work.in_flight or 2 * self.scoring.processes

    def lines(self) -> Iterator[str]:
        """What is in force as lines of TOML, without secrets and what is not set."""
        yield from _lines("", self)


def read_settings(file: Path | None, environment: Mapping[str, str]) -> Settings:
    """The settings in a file and the environment.

    Args:
        file: TOML; None for the one that `DMCL_CONFIG` names, or none.
        environment: as `os.environ`.

    Raises:
        SettingsError: the file cannot be read, or a setting is unknown or wrong. No value is shown: it may be secret.
    """
    path = file or (Path(environment[CONFIG]) if environment.get(CONFIG) else None)
    document = {} if path is None else _document(path)
    given = _merged(document, _from_environment(environment))
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        where = "settings" if path is None else str(path)
        problems = "; ".join(_problem(one) for one in error.errors(include_input=False, include_url=False))
        raise SettingsError(f"{where}: {problems}") from None


def _document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    except ValueError as error:  # of TOML or of UTF-8
        raise SettingsError(f"{path}: not TOML: {error}") from error


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in sorted(environment):
        setting = name.removeprefix(PREFIX)
        if setting == name or _NOT_OURS.fullmatch(setting):
            continue
        *tables, key = setting.lower().split("__")
        table = found
        for one in tables:
            table = table.setdefault(one, {})
            if not isinstance(table, dict):
                raise SettingsError(f"{name}: {one} is set as a whole by another variable")
        table[key] = _value(name, environment[name])
    return found


def _value(name: str, text: str) -> Any:  # noqa: ANN401 - any JSON
    """Lists and tables are JSON; all else is what the setting makes of a text."""
    if not text.startswith(("[", "{")):
        return text
    try:
        return json.loads(text)
    except ValueError:
        raise SettingsError(f"{name}: begins as JSON does, and is not") from None


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _problem(detail: ErrorDetails) -> str:
    where = ".".join(map(str, detail["loc"]))
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(detail["loc"][-1]), _keys_beside(detail["loc"]), n=1)
        return f"{where}: there is no such setting" + (f"; did you mean {near[0]}?" if near else "")
    message = detail["msg"].removeprefix("Value error, ")
    return f"{where}: {message[:1].lower()}{message[1:]}"


def _keys_beside(loc: tuple[int | str, ...]) -> list[str]:
    table: type[BaseModel] | None = Settings
    for part in loc[:-1]:
        field = table.model_fields.get(str(part)) if table is not None else None
        table = None if field is None else _table_in(field.annotation)
    return [] if table is None else list(table.model_fields)


def _table_in(annotation: Any) -> type[BaseModel] | None:  # noqa: ANN401 - a type
    candidates = [annotation, *get_args(annotation)]
    return next((one for one in candidates if isinstance(one, type) and issubclass(one, BaseModel)), None)


def _lines(prefix: str, value: object) -> Iterator[str]:
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _lines(f"{prefix}{name}.", getattr(value, name))
    elif isinstance(value, dict):
        free = prefix.startswith(("sinks.", "sources.", "scoring.options."))
        for name, one in value.items():
            hidden = free and name not in _SHOWN and isinstance(one, (str, list, tuple))
            yield from _lines(f"{prefix}{name}.", SecretStr("") if hidden else one)
    elif value is not None:
        yield f"{prefix.rstrip('.')} = {_written(value)}"


def _written(value: object) -> str:
    if isinstance(value, SecretStr):
        return json.dumps(HIDDEN)
    if isinstance(value, (bool, int, float, list)):
        return json.dumps(value)
    if isinstance(value, tuple):
        return json.dumps([one if isinstance(one, (bool, int, float, str)) else str(one) for one in value])
    return json.dumps(str(value), ensure_ascii=False)
