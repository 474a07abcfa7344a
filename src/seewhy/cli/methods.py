"""`seewhy methods`: what there is to choose from."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, Field, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from seewhy.cli import options as opt
from seewhy.cli.screen import Screen

if TYPE_CHECKING:
    from seewhy.methods import Method

_SHOWN = ("name", "family", "needs", "cost", "paper")


@opt.examples(
    "seewhy methods",
    "seewhy methods smoothgrad",
    "seewhy methods --markdown > methods.md",
)
def methods(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A method, to read all about it.", show_default=False),
    ] = None,
    markdown: opt.Markdown = False,
    json: opt.Json = False,
) -> None:
    """List the methods, or describe one with its settings."""
    from seewhy.cli.work import as_json
    from seewhy.methods import as_method
    from seewhy.methods import methods as all_methods

    opt.only_one(markdown=markdown, json=json)
    screen: Screen = context.obj
    known = all_methods()
    if name is not None and name not in known:
        name = as_method(name).name  # raises, with what is near; or the name had settings
    if json:
        chosen = [known[name]] if name is not None else list(known.values())
        found: Any = [_as_data(each) for each in chosen]
        screen.raw(as_json(found if name is None else found[0]) + "\n")
    elif name is not None:
        (_markdown if markdown else _describe)(screen, known[name])
    elif markdown:
        screen.raw(repr(known))
    else:
        screen.table(_SHOWN, known.rows())
        screen.line()
        screen.line("seewhy methods NAME says more of one: its settings, and how to write them")


def _describe(screen: Screen, how: type[Method]) -> None:
    screen.line(how.name, "bold")
    for paragraph in _description(how):
        screen.paragraph(paragraph, indent=2)
        screen.line()
    facts = _facts(how)
    if facts:
        rows = [{"setting": name, **each} for name, each in facts.items()]
        screen.table(("setting", "default", "takes"), rows, indent=2)
        screen.line()
    for what, text in _about(how).items():
        screen.line(f"  {what}: {text}")


def _markdown(screen: Screen, how: type[Method]) -> None:
    from seewhy.draw import markdown

    rows = [{"setting": name, **each} for name, each in _facts(how).items()]
    parts = [f"# {how.name}", *_description(how)]
    parts += [markdown(("setting", "default", "takes"), rows).rstrip()] if rows else []
    parts.append("\n".join(f"- {what}: {text}" for what, text in _about(how).items()))
    screen.raw("\n\n".join(parts) + "\n")


def _as_data(how: type[Method]) -> dict[str, Any]:
    from seewhy.methods.base import needs_of

    return {
        "name": how.name,
        "family": how.family,
        "needs": list(needs_of(how())),
        "cost": how.cost,
        "paper": how.paper,
        "description": "\n\n".join(_description(how)),
        "settings": _facts(how),
        "written": _written(how),
    }


def _about(how: type[Method]) -> dict[str, str]:
    from seewhy.methods.base import needs_of

    return {
        "family": how.family,
        "paper": how.paper,
        "cost": how.cost,
        "needs": ", ".join(needs_of(how())) or "nothing",
        "written": _written(how),
    }


def _description(how: type[Method]) -> list[str]:
    """Return the docstring in paragraphs, and of its bases those that tell of its settings."""
    from seewhy.methods import Method

    settings = [each.name for each in fields(how)]
    told: list[str] = []
    for each in how.__mro__[: how.__mro__.index(Method)]:
        text = inspect.cleandoc(vars(each).get("__doc__") or "")
        missing = [name for name in settings if not any(f"{name}:" in part for part in told)]
        of_settings = any(f"{name}:" in text for name in missing)
        if not text.startswith(f"{each.__name__}(") and (each is how or of_settings):
            told += [" ".join(part.split()) for part in text.split("\n\n")]
    return told


def _facts(how: type[Method]) -> dict[str, dict[str, str]]:
    """Return the default of each setting, and what it takes, as they are written."""
    hints = get_type_hints(how)
    return {
        each.name: {
            "default": _default(each),
            "takes": _takes(hints[each.name]),
        }
        for each in fields(how)
    }


def _default(each: Field[Any]) -> str:
    value = each.default if each.default_factory is MISSING else each.default_factory()
    if value is MISSING:
        return "required"
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _takes(hint: Any) -> str:
    """Say what can be written for a field of this type."""
    from seewhy.methods import Method

    words: list[str] = []
    for kind in get_args(hint) if get_args(hint) and get_origin(hint) is not Literal else (hint,):
        if get_origin(kind) is Literal:
            words += map(str, get_args(kind))
        elif get_origin(kind) is tuple:
            words.append("several with +")
        elif kind is bool:
            words.append("true, false")
        elif isinstance(kind, type) and issubclass(kind, Method):
            words.append("a method, (name:setting=...) in brackets")
        elif kind in _WORDS:
            words.append(_WORDS[kind])
    return " or ".join(dict.fromkeys(words))


_OPEN = ("none", "required")
_WORDS: dict[Any, str] = {int: "a whole number", float: "a number", str: "a name"}


def _written(how: type[Method]) -> str:
    """Return an example of the method as a string."""
    given = [
        f"{name}={name.upper() if each['default'] in _OPEN else each['default']}"
        for name, each in _facts(how).items()
    ]
    return how.name + (":" + ",".join(given) if given else "")
