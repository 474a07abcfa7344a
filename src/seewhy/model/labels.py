"""Labels: the classes' names, unique, and how people refer to them."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path

from seewhy.errors import ModelError, TargetError

IMAGENET_TWINS = {134: "n02012849", 517: "n03126707", 638: "n03710637", 639: "n03710721"}
"""Classes of ImageNet-1k that share a name (crane, maillot): their WordNet ids tell them apart."""


class Labels(Sequence[str]):
    """The names of the classes, in order; no two are equal.

    names: one for each class. Names that occur twice get their id, "crane (n02012849)", or where
    there is none their class number. ids: of each class, or of some by class number.
    """

    def __init__(
        self, names: Iterable[str], ids: Sequence[str] | dict[int, str] | None = None
    ) -> None:
        given = [str(name) for name in names]
        known = dict(enumerate(ids)) if isinstance(ids, Sequence) else dict(ids or {})
        if len(given) == 1000 and not known:
            known = IMAGENET_TWINS
        names = given
        while len(set(names)) < len(names):
            counts = Counter(names)
            names = [
                f"{name} ({known.get(number, number)})" if counts[name] > 1 else name
                for number, name in enumerate(names)
            ]
        self._names = tuple(names)
        self._ids = known

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self._names[index]

    def __repr__(self) -> str:
        shown = ", ".join(self._names[:3])
        return f"Labels({len(self)}: {shown}{', ...' if len(self) > 3 else ''})"

    def number(self, name: str) -> int:
        """Return the class of that name or id; upper and lower case matter only where they must.

        Raises TargetError that lists near names.
        """
        if name in self._names:
            return self._names.index(name)
        for number, known in self._ids.items():
            if known == name:
                return number
        folded = [label.casefold() for label in self._names]
        wanted = name.casefold()
        starts = [i for i, label in enumerate(folded) if label == wanted] or [
            i for i, label in enumerate(folded) if label.startswith(f"{wanted} (")
        ]
        if len(starts) == 1:
            return starts[0]
        if starts:
            several = ", ".join(repr(self._names[i]) for i in starts)
            raise TargetError(f"class {name!r} is one of {several}: say which")
        near = [i for i, label in enumerate(folded) if wanted in label][:5]
        near = near or [folded.index(n) for n in difflib.get_close_matches(wanted, folded, 5, 0.6)]
        if near:
            hint = "did you mean " + ", ".join(repr(self._names[i]) for i in near) + "?"
        elif len(self) <= 20:
            hint = "the classes are " + ", ".join(self._names)
        else:
            hint = f"the classes are {self._names[0]!r}, {self._names[1]!r}, ... ({len(self)})"
        raise TargetError(f"there is no class {name!r}: {hint}")

    @classmethod
    def imagenet(cls) -> Labels:
        """Return the thousand classes of ImageNet-1k, which come with this package.

        >>> Labels.imagenet().number("n02123045")
        281
        """
        text = resources.files("seewhy.data").joinpath("imagenet.tsv").read_text(encoding="utf-8")
        rows = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
        return cls([name for _, name in rows], [id_ for id_, _ in rows])

    @classmethod
    def read(cls, path: str | Path) -> Labels:
        """Read a file with a name on each line, or a JSON list, or a JSON object {number: name}.

        In JSON, [id, name] may stand for a name, as in ImageNet's own index of classes.
        Raises ModelError naming the file where it cannot be read, or a number is left out.
        """
        try:
            text = Path(path).expanduser().read_text(encoding="utf-8")
            if not text.lstrip().startswith(("[", "{")):
                return cls(line.strip() for line in text.splitlines() if line.strip())
            found = json.loads(text)
            if isinstance(found, dict):
                missing = set(range(len(found))) - set(map(int, found))
                if missing:
                    raise ValueError(f"there is no class {min(missing)}")
                found = [found[key] for key in sorted(found, key=int)]
            if all(isinstance(each, list) and len(each) == 2 for each in found):
                return cls([name for _, name in found], [str(id_) for id_, _ in found])
            if not all(isinstance(each, str) for each in found):
                raise ValueError("some names are no strings")
            return cls(found)
        except (OSError, ValueError) as error:
            raise ModelError(
                f"labels cannot be read from {path} ({error}): "
                "give a text file with a name on each line, or a JSON list"
            ) from error
