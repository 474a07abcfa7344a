"""The registry: every method by name, and from a name or a string to a method."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, fields
from functools import cache
from importlib.metadata import entry_points
from typing import Any, TypeVar

from seewhy.draw import markdown
from seewhy.errors import MethodError
from seewhy.methods import settings
from seewhy.methods.base import Method, needs_of

ENTRY_POINTS = "seewhy.methods"

M = TypeVar("M", bound=type[Method])

_methods: dict[str, type[Method]] = {}


def method(name: str, *, paper: str, cost: str, needs: tuple[str, ...] = ()) -> Callable[[M], M]:
    """Register a frozen dataclass derived from Method under the name its paper gives it.

    paper: authors, year and equation. cost: passes for a picture, in words. needs: what it asks of
    a model, of "gradient" and "layers". A name taken twice is an error.
    """

    def register(cls: M) -> M:
        known = _methods.get(name)
        own = (cls.__module__, cls.__qualname__)
        if known is not None and (known.__module__, known.__qualname__) != own:
            raise MethodError(
                f"the method name {name!r} is taken by {known.__module__}.{known.__qualname__}: "
                "register under another name"
            )
        cls.name, cls.paper, cls.cost, cls.needs = name, paper, cost, needs
        cls.family = cls.family or cls.__module__.rpartition(".")[2]
        _methods[name] = cls
        return cls

    return register


@cache
def _load_all() -> None:
    """Import the methods of this package and those that other packages registered."""
    import seewhy.methods  # noqa: F401 - its modules register themselves

    for entry in entry_points(group=ENTRY_POINTS):
        entry.load()


class MethodTable(Mapping[str, type[Method]]):
    """Every method by name; printed, a table of family, needs, cost, settings and paper."""

    columns = ("name", "family", "needs", "cost", "settings", "paper")

    def __init__(self, known: dict[str, type[Method]]) -> None:
        self._known = known

    def __getitem__(self, name: str) -> type[Method]:
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def rows(self) -> list[dict[str, str]]:
        """Return one row a method, in words."""
        return [
            {
                "name": name,
                "family": cls.family,
                "needs": ", ".join(needs_of(cls())) or "nothing",
                "cost": cls.cost,
                "settings": ", ".join(_with_default(each) for each in fields(cls)),
                "paper": cls.paper,
            }
            for name, cls in self._known.items()
        ]

    def __repr__(self) -> str:
        return markdown(self.columns, self.rows())

    def _repr_markdown_(self) -> str:
        return repr(self)


def _with_default(each: Field[Any]) -> str:
    return f"{each.name}={settings.written(settings.default(each))}"


def methods() -> MethodTable:
    """Return every method by name, in order of registration."""
    _load_all()
    return MethodTable(dict(_methods))


def as_method(spec: Method | type[Method] | str) -> Method:
    """Return the method that is meant: itself, a class with its defaults, or a string.

    A string is a name with settings: "smoothgrad:samples=50,method=grad-cam". Settings of an inner
    method stand in brackets: "smoothgrad:method=(layer-cam:layer=layer3),samples=10".
    Raises MethodError that lists what there is.
    """
    if isinstance(spec, Method):
        return spec
    if isinstance(spec, type) and issubclass(spec, Method):
        return spec()
    if not isinstance(spec, str):
        raise MethodError(f"{spec!r} is no method: give its name, or an instance")
    name, _, options = spec.strip().partition(":")
    known = methods()
    if name not in known:
        near = difflib.get_close_matches(name, known, 3, 0.4)
        raise MethodError(
            f"there is no method {name!r}: "
            + (f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}")
        )
    return settings.build(known[name], spec, options, as_method)
