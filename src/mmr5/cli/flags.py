"""Settings → flags: a command's parameter that is a settings dataclass becomes the flags of its fields.

A command is written with whole settings and decorated::

    @flags
    def rerank(query: Query, model: ModelSettings, search: SearchSettings) -> None: ...

typer then sees ``--model``, ``--engine``, ..., ``--retriever``, ..., and the command gets the dataclasses, checked.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from mmr5.settings import Knob


class Only:
    """In ``Annotated[Settings, Only("a", "b")]``: the fields that get flags; the others keep their defaults."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def __contains__(self, name: str) -> bool:
        return name in self._names


class Without(Only):
    """In ``Annotated[Settings, Without("a")]``: all fields but these get flags."""

    def __contains__(self, name: str) -> bool:
        return name not in self._names


@dataclass(frozen=True, slots=True)
class _Flag:
    """One flag: its parameter as typer reads it, and the way of its value into the settings."""

    name: str
    parameter: inspect.Parameter
    unit: int
    nested: bool


def flags(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the flags of its settings (see the module's text)."""
    hints = get_type_hints(function, include_extras=True)
    parameters: list[inspect.Parameter] = []
    built: dict[str, tuple[Any, list[_Flag]]] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        kind, only = _settings(hints[name])
        if kind is None:
            parameters.append(parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        found = list(_flags_of(kind, only))
        built[name] = kind, found
        parameters += [flag.parameter for flag in found]

    @functools.wraps(function)
    def command(**values: Any) -> None:
        settings = {name: _build(kind, found, values) for name, (kind, found) in built.items()}
        function(**settings, **values)

    del command.__wrapped__
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


def _settings(hint: Any) -> tuple[Any, Only | None]:
    """The settings dataclass that a parameter is annotated with, and which of its fields; None for another parameter."""
    if get_origin(hint) is Annotated:
        kind, *notes = get_args(hint)
        only = next((note for note in notes if isinstance(note, Only)), None)
        return (kind, only) if dataclasses.is_dataclass(kind) else (None, None)
    return (hint, None) if dataclasses.is_dataclass(hint) else (None, None)


def _flags_of(kind: Any, only: Only | None, *, nested: bool = False) -> list[_Flag]:
    """The flags of a dataclass; those of a field ``given`` (settings that override a recipe's) are nested."""
    hints = get_type_hints(kind)
    found: list[_Flag] = []
    for field in dataclasses.fields(kind):
        if "given" in field.metadata:
            found += _flags_of(field.metadata["given"], only, nested=True)
        elif (knob := field.metadata.get("knob")) is not None and knob.flag != "" and (only is None or field.name in only):
            found.append(_flag(field, hints[field.name], knob, nested=nested))
    return found


def _flag(field: Any, hint: Any, knob: Knob, *, nested: bool) -> _Flag:
    name = field.name if knob.flag is None else knob.flag.replace("-", "_")
    words, default = knob.help, field.default
    if knob.argument:
        argument = Annotated[hint, typer.Argument(help=words, show_default=False)]
        return _Flag(field.name, inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=argument), 1, nested)
    switch = hint is bool
    if get_origin(hint) is tuple:
        inner: Any = get_args(hint)[0]
        hint, default = list[inner] | None, None
    if nested and not switch:
        shown = knob.shown or ("" if default is None else default)
        hint, default = hint if NoneType in get_args(hint) else hint | None, None
    else:
        shown = (knob.shown or "") if default is None else ""
    if shown != "":
        words = f"{words} [default: {shown}]"
    bounds: dict[str, Any] = {}
    if not switch and {int, float} & {hint, *get_args(hint)}:
        bounds = {"min": knob.low if knob.above is None else None, "max": knob.high}
        default = default if default is None or knob.unit == 1 else default // knob.unit
    dashed = "--" + name.replace("_", "-")
    option = typer.Option(dashed, help=words, show_default=default not in (None, False, ""), **bounds)
    parameter = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[hint, option])
    return _Flag(field.name, parameter, knob.unit, nested)


def _build(kind: Any, found: list[_Flag], values: dict[str, Any]) -> Any:
    """The settings out of the flags' values, which are taken out of ``values``."""
    own: dict[str, Any] = {}
    given: dict[str, Any] = {}
    for flag in found:
        value = values.pop(flag.parameter.name)
        if isinstance(value, list):
            value = tuple(value)
        if value is None or (flag.nested and value is False):
            continue
        (given if flag.nested else own)[flag.name] = value * flag.unit if flag.unit != 1 else value
    if given or any("given" in f.metadata for f in dataclasses.fields(kind)):
        own["given"] = given
    return kind(**own)
