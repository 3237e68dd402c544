"""Pages made of the code that they describe: commands, settings and metrics.

Each directive writes Markdown from what the installed packages say of themselves, so that no page can fall behind.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from inspect import cleandoc
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from types import NoneType
from typing import Any, ClassVar, Literal, get_args, get_origin

from docutils import nodes
from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel, ByteSize, SecretStr
from pydantic.fields import FieldInfo
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective
from typer import Context, Typer
from typer.main import get_command

from connectors.metrics import Metrics
from connectors.plugins import kinds
from connectors.policy import Policy
from connectors.settings import Settings
from dmcl_sdk.cli import OF_EXTRAS, app
from dmcl_sdk.plugins import command_entry_points, load_command

WIDTH = 100
_TYPES = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    ByteSize: "size",
    SecretStr: "secret",
    IPv4Network: "network",
    IPv6Network: "network",
    Path: "path",
}
"""What a setting's type is called; a type that is not here stops the build, and gets its name."""


def commands() -> Iterator[tuple[str, Any]]:
    """Every command by its words, `dmcl s3 run`: first the SDK's own, then those of other packages."""
    yield from _under("dmcl", get_command(app))
    order = {name: place for place, name in enumerate(OF_EXTRAS)}
    for entry in sorted(command_entry_points(), key=lambda entry: order.get(entry.name, len(order))):
        command = load_command(entry)
        yield from _under(
            f"dmcl {entry.name}", get_command(command) if isinstance(command, Typer) else command
        )


def command_page() -> Iterator[str]:
    """What `--help` prints, a section each."""
    for name, command in commands():
        command.rich_markup_mode = None  # plain, without boxes
        if command.help:  # examples keep their lines
            paragraphs = cleandoc(command.help).replace("\b\n", "").split("\n\n")
            command.help = "\n\n".join(f"\b\n{paragraph}" for paragraph in paragraphs)
        context = command.context_class(
            command, info_name=name, terminal_width=WIDTH, max_content_width=WIDTH
        )
        yield f"## `{name}`\n\n```text\n{command.get_help(context).strip()}\n```\n"


def settings_page() -> Iterator[str]:
    """The settings of the connectors, a section for each table of TOML."""
    yield from _table("", Settings)
    for kind, entry in sorted(kinds("dmcl.sinks").items()):
        module = importlib.import_module(entry.module)
        (model,) = (one for one in vars(module).values() if _is_own(one, "Settings", module.__name__))
        yield from _table("sinks.NAME", model, f' with `type = "{kind}"`')


def policy_page() -> Iterator[str]:
    """What a policy says, and the conditions of its rules."""
    yield from _table("", Policy)


def metrics_page() -> Iterator[str]:
    """What a daemon counts, a row for each name that Prometheus sees."""
    yield "| metric | kind | labels | what it says |\n| --- | --- | --- | --- |"
    for metric in vars(Metrics()).values():
        if not isinstance(metric, MetricWrapperBase):
            continue
        (family,) = metric.describe()
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = ", ".join(f"`{label}`" for label in metric._labelnames)  # noqa: SLF001 - told nowhere else
        yield f"| `{name}` | {family.type} | {labels} | {family.documentation} |"


def _under(name: str, command: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - Typer's own kind of command
    yield name, command
    context = Context(command, info_name=name)
    for word in getattr(command, "list_commands", lambda _: ())(context):
        yield from _under(f"{name} {word}", command.get_command(context, word))


def _is_own(value: object, ending: str, module: str) -> bool:
    return (
        isinstance(value, type)
        and issubclass(value, BaseModel)
        and value.__name__.endswith(ending)
        and value.__module__ == module
    )


def _table(name: str, model: type[BaseModel], which: str = "") -> Iterator[str]:
    """One table of settings, and then the tables inside it."""
    tables = {key: inner for key, field in model.model_fields.items() if (inner := _model_in(field))}
    plain = {key: field for key, field in model.model_fields.items() if key not in tables}
    yield f"## {f'`[{name}]`{which}' if name else 'At the top'}\n"
    yield f"{_first_paragraph(model)}\n"
    if plain:
        yield "| setting | type | without | |\n| --- | --- | --- | --- |"
    for key, field in plain.items():
        yield f"| `{key}` | {_type(field.annotation)} | {_default(field)} | {_words(model, key)} |"
    yield ""
    for key, inner in tables.items():
        yield from _table(f"{name}.{key}".lstrip("."), inner)


def _model_in(field: FieldInfo) -> type[BaseModel] | None:
    candidates = [field.annotation, *get_args(field.annotation)]
    return next((one for one in candidates if isinstance(one, type) and issubclass(one, BaseModel)), None)


def _first_paragraph(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split("\n\n")[0].split())


def _words(model: type[BaseModel], key: str) -> str:
    """The docstring under a field, of the class that declares it."""
    for owner in model.__mro__:
        if owner.__module__.startswith("connectors."):
            found = ModuleAnalyzer.for_module(owner.__module__).find_attr_docs().get((owner.__name__, key))
            if found:
                return " ".join(found).strip().replace("|", "\\|")
    return ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*needed*"
    value = field.get_default(call_default_factory=True)
    return "" if value is None or value in ((), {}) else f"`{value}`"


def _type(annotation: Any) -> str:  # noqa: ANN401 - a type
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{one}`" for one in inner)
    if origin in {tuple, dict}:
        return "table" if origin is dict else f"list of {_type(inner[0])}"
    parts = (
        inner[:1] if hasattr(annotation, "__metadata__") else [one for one in inner if one is not NoneType]
    )
    if parts:
        return " or ".join(dict.fromkeys(_type(one) for one in parts))
    return _TYPES[annotation]


class _Generated(SphinxDirective):
    """Content that a function writes as Markdown."""

    page: ClassVar[Callable[[], Iterator[str]]]

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes("\n".join(type(self).page()), allow_section_headings=True)


class _Commands(_Generated):
    page = command_page


class _Settings(_Generated):
    page = settings_page


class _Policy(_Generated):
    page = policy_page


class _Metrics(_Generated):
    page = metrics_page


def _as_restructured_text(_app: Sphinx, what: str, *docstring: Any) -> None:  # noqa: ANN401 - Sphinx's own
    """Docstrings are written as Markdown: `code`, and drawings that are indented."""
    lines = docstring[-1]
    lines[:] = [re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", line).replace("|", r"\|") for line in lines]
    if what == "module":
        drawings = [n for n in range(1, len(lines)) if lines[n].startswith("    ") and not lines[n - 1]]
        for at in reversed(drawings):
            lines[at:at] = ["::", ""]


def setup(app: Sphinx) -> dict[str, bool]:
    """Make all this known to Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    app.add_directive("dmcl-commands", _Commands)
    app.add_directive("dmcl-settings", _Settings)
    app.add_directive("dmcl-policy", _Policy)
    app.add_directive("dmcl-metrics", _Metrics)
    app.connect("autodoc-process-docstring", _as_restructured_text)
    return {"parallel_read_safe": True}
