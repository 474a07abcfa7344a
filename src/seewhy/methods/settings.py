"""Settings: how a method's fields are written in a string, read back, and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields
from functools import cache
from numbers import Integral, Real
from types import FunctionType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from torch import nn

from seewhy.errors import MethodError
from seewhy.model.layers import Layer

T = TypeVar("T")


def split(spec: str, options: str) -> Iterator[tuple[str, str]]:
    """Split "a=1,b=(c:d=2,e=3)" at the commas outside brackets."""
    depth, start = 0, 0
    for place, sign in enumerate(options + ","):
        depth += (sign == "(") - (sign == ")")
        if sign == "," and depth == 0:
            name, equals, value = options[start:place].partition("=")
            if equals:
                value = value.strip()
                bracketed = value.startswith("(") and value.endswith(")")
                yield name.strip(), value[1:-1] if bracketed else value
            elif options[start:place].strip():
                raise MethodError(
                    f"{options[start:place]!r} in {spec!r} is no setting: write name=value"
                )
            start = place + 1
    if depth:
        raise MethodError(f"the brackets in {spec!r} do not match")


def build(cls: type[T], spec: str, options: str, method: Callable[[str], Any] | None = None) -> T:
    """Make a dataclass that has a name from settings "a=1,b=2", read as its fields' types say.

    spec: all that was written. method: reads a setting that is a method. Raises MethodError.
    """
    hints, what = _hints(cls), cls.name  # type: ignore[arg-type, attr-defined]
    known = [each.name for each in fields(cls)]  # type: ignore[arg-type]
    given = {}
    for name, value in split(spec, options):
        if name not in known:
            offered = f"it has {', '.join(known)}" if known else "it has none"
            raise MethodError(f"{what!r} has no setting {name!r}: {offered}")
        if name in given:
            raise MethodError(f"{what!r} is given {name!r} twice: give each setting once")
        given[name] = read(value, hints[name], f"{what}: {name}", method)
    return cls(**given)


_hints = cache(get_type_hints)


def read(value: Any, hint: Any, what: str, method: Callable[[str], Any] | None) -> Any:
    """Read a setting that was written as a string the way its type says; anything else stays.

    method: reads the setting that is a method itself.
    """
    if not isinstance(value, str):
        return value
    kinds, choices = _kinds(hint)
    if value.lower() == "none" and type(None) in kinds:
        return None
    if method is not None and any(hasattr(kind, "attribute") for kind in kinds):
        return method(value)
    if bool in kinds and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if int in kinds or float in kinds:
        return _number(value, hint, what)
    if "+" in value and any(get_origin(kind) is tuple for kind in kinds):
        return tuple(None if each == "none" else _layer(each) for each in value.split("+"))
    if Layer in kinds:
        return _layer(value)
    if value in choices or str in kinds:
        return value
    raise _unfit(value, hint, what)


def check(value: Any, hint: Any, what: str) -> None:
    """Raise MethodError unless a setting is of its type, where its type is a plain one."""
    kinds, choices = _kinds(hint)
    plain = {int: Integral, float: Real, bool: bool, type(None): type(None)}
    if any(kind not in plain and get_origin(kind) is not Literal for kind in kinds):
        return  # layers, methods, whatever else: used where it is used
    fits = any(isinstance(value, plain[kind]) for kind in kinds if kind in plain)
    if value in choices or (fits and (bool in kinds or not isinstance(value, bool))):
        return
    raise _unfit(value, hint, what)


def written(value: Any) -> str:
    """A setting as it is written in a string."""
    if isinstance(value, tuple | list):
        return "+".join(written(each) for each in value)
    if isinstance(value, nn.Module):
        return type(value).__name__
    if isinstance(value, FunctionType):
        return value.__name__  # to be read by people: a string cannot hold a function
    if hasattr(value, "written"):
        return str(value.written())  # a layer, or a method within a method
    return "none" if value is None else str(value)


def default(each: Field[Any]) -> Any:
    """Return a field's default, MISSING where it has none."""
    if each.default is not MISSING:
        return each.default
    return each.default_factory() if each.default_factory is not MISSING else MISSING


def _number(value: str, hint: Any, what: str) -> Any:
    for kind in (int, float):
        if kind in _kinds(hint)[0]:
            try:
                return kind(value)
            except ValueError:
                continue
    kinds, choices = _kinds(hint)
    if str in kinds or value in choices:
        return value  # a number or a word
    raise _unfit(value, hint, what)


def _layer(text: str) -> Layer | str:
    """A layer with a reading of its own, or a name that the model looks up."""
    return Layer.parse(text) if text.endswith("]") else text


def _kinds(hint: Any) -> tuple[tuple[Any, ...], list[Any]]:
    """The types that a setting may have, and the values among which it may choose."""
    union = isinstance(hint, UnionType) or get_origin(hint) is Union
    kinds = get_args(hint) if union else (hint,)
    literals = [kind for kind in kinds if get_origin(kind) is Literal]
    return kinds, [choice for literal in literals for choice in get_args(literal)]


def _unfit(value: Any, hint: Any, what: str) -> MethodError:
    kinds, choices = _kinds(hint)
    words: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false"}
    words[type(None)] = "none"
    wanted = [repr(choice) for choice in choices]
    wanted += [words.get(kind, kind.__name__) for kind in kinds if isinstance(kind, type)]
    return MethodError(f"{what} is {value!r}: it can be {' or '.join(wanted)}")
