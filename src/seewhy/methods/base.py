"""What a method is, how it is named and written, and how it is run."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from functools import cache
from importlib.metadata import entry_points
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import torch
from torch import Tensor, nn

from seewhy.draw import markdown
from seewhy.errors import MethodError
from seewhy.model.layers import Layer
from seewhy.model.tape.passes import Passes, counted
from seewhy.run import Run

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared
    from seewhy.targets import Score

Display = Literal["signed", "positive", "absolute"]

ENTRY_POINTS = "seewhy.methods"


@dataclass(frozen=True)
class Attribution:
    """What a method found for a batch of pictures.

    relevance: (N, C', *space'), raw and signed, at the resolution at which it was computed. checks:
    one number a picture, by name (completeness gap). layers: where it was computed. passes: rows
    sent through the network, filled in by whoever ran the method.
    """

    relevance: Tensor
    checks: dict[str, Tensor] = field(default_factory=dict)
    layers: tuple[Layer, ...] = ()
    passes: Passes = field(default_factory=Passes)


@dataclass(frozen=True)
class Method:
    """A way to explain: a value with its settings as fields, and `attribute`.

    Derive a frozen dataclass, decorate it with `method(...)`, and write `attribute`.
    """

    name: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    cost: ClassVar[str] = ""
    family: ClassVar[str] = ""
    needs: ClassVar[tuple[str, ...]] = ()
    display: ClassVar[Display] = "signed"
    """What is drawn: both signs, the positive part (a CAM's rectification), or the magnitude."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for each in fields(self):
            _check(getattr(self, each.name), hints[each.name], f"{self.name}: {each.name}")
        self.check()

    def check(self) -> None:
        """Raise MethodError where a setting of the right type has no sense."""

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """Return the relevance of every place of every picture for its score.

        The model is held, the pictures are where it is, and the score may not be bound yet.
        """
        raise NotImplementedError

    def __str__(self) -> str:
        given = [
            f"{each.name}={_written(getattr(self, each.name))}"
            for each in fields(self)
            if getattr(self, each.name) != _default(each)
        ]
        return self.name + (":" + ",".join(given) if given else "")


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
                "needs": ", ".join(cls.needs) or "nothing",
                "cost": cls.cost,
                "settings": ", ".join(f"{f.name}={_written(_default(f))}" for f in fields(cls)),
                "paper": cls.paper,
            }
            for name, cls in self._known.items()
        ]

    def __repr__(self) -> str:
        return markdown(self.columns, self.rows())

    def _repr_markdown_(self) -> str:
        return repr(self)


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
    return build(known[name], dict(_settings(spec, options)))


def build(cls: type[Method], settings: dict[str, Any]) -> Method:
    """Make a method from settings; strings are read as the field's type says."""
    hints = get_type_hints(cls)
    known = [each.name for each in fields(cls)]
    for name in settings:
        if name not in known:
            offered = f"it has {', '.join(known)}" if known else "it has none"
            raise MethodError(f"method {cls.name!r} has no setting {name!r}: {offered}")
    read = {
        name: _read(value, hints[name], f"{cls.name}: {name}") for name, value in settings.items()
    }
    return cls(**read)


def perform(how: Method, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
    """Run a method on a batch: check what it needs, hold the model, count passes, check the map.

    Every method is run through here. Raises MethodError where the model does not offer what the
    method needs or the map is not finite.
    """
    for need in how.needs:
        if not getattr(model.offers, need):
            raise MethodError(
                f"{how.name} needs {need}, which {model.name} does not offer: choose a method "
                "without it (seewhy methods lists what each needs)"
            )
    if not prepared.tensor.numel():
        raise MethodError(f"the input has the shape {tuple(prepared.tensor.shape)}: it is empty")
    with model.held(run), torch.no_grad(), counted() as passes:
        found = how.attribute(model, model.at_home(prepared), score, run)
    if len(found.relevance) != len(prepared):
        raise MethodError(
            f"{how.name} gave {len(found.relevance)} maps for {len(prepared)} pictures: a method "
            "must give one for each"
        )
    if not bool(torch.isfinite(found.relevance).all()):
        raise MethodError(
            f"{how.name} gave a map with NaN or infinity on {model.name}: its weights or "
            "activations overflow; try precision='float32' or another layer"
        )
    return replace(found, passes=passes)


def positive(value: float, name: str) -> None:
    """Raise MethodError unless a setting is a finite number above zero."""
    if not (isinstance(value, int | float) and value > 0 and math.isfinite(value)):
        raise MethodError(f"{name} is {value!r}: give a number above zero")


def _settings(spec: str, options: str) -> Iterator[tuple[str, str]]:
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


def _read(value: Any, hint: Any, what: str) -> Any:
    """Read a setting that was written as a string the way its type says; anything else stays."""
    if not isinstance(value, str):
        return value
    kinds, choices = _kinds(hint)
    if value.lower() == "none" and type(None) in kinds:
        return None
    if any(isinstance(kind, type) and issubclass(kind, Method) for kind in kinds):
        return as_method(value)
    if bool in kinds and value.lower() in ("true", "false"):
        return value.lower() == "true"
    for number in (int, float):
        if number in kinds:
            try:
                return number(value)
            except ValueError:
                continue
    if "+" in value and any(get_origin(kind) is tuple for kind in kinds):
        return tuple(None if each == "none" else _layer(each) for each in value.split("+"))
    if Layer in kinds:
        return _layer(value)
    if value in choices or str in kinds:
        return value
    raise _unfit(value, hint, what)


def _layer(text: str) -> Layer | str:
    """A layer with a reading of its own, or a name that the model looks up."""
    return Layer.parse(text) if text.endswith("]") else text


def _check(value: Any, hint: Any, what: str) -> None:
    """Raise MethodError unless a setting is of its type, where its type is a plain one."""
    kinds, choices = _kinds(hint)
    plain = {int: int, float: int | float, bool: bool, type(None): type(None)}
    if any(kind not in plain and get_origin(kind) is not Literal for kind in kinds):
        return  # layers, methods, whatever else: used where it is used
    fits = any(isinstance(value, plain[kind]) for kind in kinds if kind in plain)
    if value in choices or (fits and (bool in kinds or not isinstance(value, bool))):
        return
    raise _unfit(value, hint, what)


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


def _written(value: Any) -> str:
    """A setting as it is written in a string."""
    if isinstance(value, Method):
        inner = str(value)
        return f"({inner})" if ":" in inner else inner
    if isinstance(value, tuple | list):
        return "+".join(_written(each) for each in value)
    if isinstance(value, nn.Module):
        return type(value).__name__
    if isinstance(value, Layer):
        return value.written()
    return "none" if value is None else str(value)


def _default(each: Field[Any]) -> Any:
    if each.default is not MISSING:
        return each.default
    return each.default_factory() if each.default_factory is not MISSING else MISSING
