"""What every method promises, as checks that anyone can run on a method of their own."""

from __future__ import annotations

import pickle
import threading
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from seewhy.api import explain
from seewhy.errors import SeewhyError, SeewhyWarning
from seewhy.explanation import Explanations
from seewhy.methods import Method, as_method
from seewhy.model.model import Model
from seewhy.testing.kinds import KINDS, Kind

SAME = 1e-4  # of a map's largest value: float32 sums in another order


def check_method(
    method: Method | str,
    kinds: Iterable[str] | None = None,
    checks: Iterable[str] | None = None,
    *,
    device: str = "cpu",
) -> dict[str, str]:
    """Run every check on every kind of model; AssertionError says which promise was broken.

    device: where the models stand, such as "cuda". Returns for each kind "applies", or the error in
    which the method says that it does not apply: a method may refuse a kind of model, with one
    clear SeewhyError, and nothing else.
    """
    how = as_method(method)
    found = {}
    for name in kinds or KINDS:
        kind = replace(KINDS[name], device=device)
        try:
            _maps(how, kind.model(), kind)
        except SeewhyError as error:
            found[name] = str(error)
            continue
        for check in checks or CHECKS:
            try:
                CHECKS[check](how, kind)
            except AssertionError as error:
                raise AssertionError(f"{how} on {name!r}: {check}: {error}") from error
        found[name] = "applies"
    if kinds is None:
        assert "applies" in found.values(), f"{how} applies to no kind of model at all"
    return found


def _maps(
    how: Method,
    model: Model,
    kind: Kind,
    pictures: Tensor | None = None,
    others: dict[str, Tensor] | None = None,
    **options: Any,
) -> Explanations:
    """Explain the kind's pictures; an untrained network may well have an empty map."""
    pictures = kind.pictures() if pictures is None else pictures
    others = kind.more(len(pictures)) if others is None else others
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SeewhyWarning)
        found = explain(model, pictures, kind.target, how, others=others, **options)
    assert isinstance(found, Explanations)
    return found


def _same(one: Tensor, two: Tensor, what: str, tolerance: float = SAME) -> None:
    assert one.shape == two.shape, f"{what}: shapes {tuple(one.shape)} and {tuple(two.shape)}"
    gap = float((one.double() - two.double()).abs().max())
    scale = max(float(one.double().abs().max()), 1e-12)
    assert gap <= tolerance * scale, (
        f"{what}: maps differ by {gap:.3g}, at a maximum of {scale:.3g}"
    )


def _random_state(kind: Kind) -> Tensor:
    """The state of the generators that a network on this device draws from."""
    states = [torch.get_rng_state()]
    if torch.device(kind.device).type == "cuda":
        states.append(torch.cuda.get_rng_state(kind.device))
    return torch.cat(states)


# ---------------------------------------------------------------------- the promises


def one_finite_map_each(how: Method, kind: Kind) -> None:
    """Each picture gets one finite map of its own, without a graph, and the passes are counted."""
    found = _maps(how, kind.model(), kind)
    assert len(found) == 3, f"{len(found)} maps for 3 pictures"
    for each in found:
        assert bool(torch.isfinite(each.relevance).all()), "NaN or infinity"
        assert not each.relevance.requires_grad, "the map still hangs on a graph"
        assert each.relevance.is_floating_point(), f"the map is {each.relevance.dtype}"
        assert each.passes.forwards >= 1, "the forwards were not counted"


def batch_does_not_matter(how: Method, kind: Kind) -> None:
    """A picture's map is the same alone, in any batch, at any place of it."""
    model = kind.model()
    together = _maps(how, model, kind)
    for batch in (1, 2):
        for one, two in zip(together, _maps(how, model, kind, batch=batch), strict=True):
            _same(one.relevance, two.relevance, f"in batches of {batch}")
    pictures, more = kind.pictures(), kind.more()
    backwards = None if more is None else {name: each.flip(0) for name, each in more.items()}
    turned = _maps(how, model, kind, pictures.flip(0), backwards)
    for one, two in zip(together, reversed(turned), strict=True):
        _same(one.relevance, two.relevance, "in another order")


def equal_pictures_equal_maps(how: Method, kind: Kind) -> None:
    """A picture that comes twice gets the same map twice."""
    pictures, more = kind.pictures(1).repeat(2, *[1] * len(kind.shape)), kind.more(1)
    twice = None if more is None else {n: each.repeat(2, 1) for n, each in more.items()}
    one, two = _maps(how, kind.model(), kind, pictures, twice)
    _same(one.relevance, two.relevance, "the same picture twice")


def memory_does_not_matter(how: Method, kind: Kind) -> None:
    """A small working set changes nothing but the speed."""
    model = kind.model()
    for one, two in zip(_maps(how, model, kind), _maps(how, model, kind, memory=1), strict=True):
        _same(one.relevance, two.relevance, "with hardly any memory")


def one_seed_repeats(how: Method, kind: Kind) -> None:
    """The same seed gives the same map to the bit, whatever the caller's random state."""
    model = kind.model()
    one = _maps(how, model, kind, seed=3)[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        two = _maps(how, model, kind, seed=3)[0]
    assert torch.equal(one.relevance, two.relevance), "one seed gave two maps"


def model_comes_back(how: Method, kind: Kind) -> None:
    """The module, its modes and gradients, the pictures and the random state are as they were."""
    for training in (False, True):
        model = kind.model()
        if training and isinstance(model.module, torch.jit.ScriptModule):
            continue
        model.module.train(training)
        before, state = snapshot(model.module), _random_state(kind)
        pictures = kind.pictures(1)
        _maps(how, model, kind, pictures)
        difference(before, snapshot(model.module))
        assert torch.equal(pictures, kind.pictures(1)), "the caller's pictures were written into"
        assert torch.equal(state, _random_state(kind)), "the caller's random state has moved"


def model_survives_exceptions(how: Method, kind: Kind) -> None:
    """An exception in any layer comes out as it is, and the module is as it was."""
    model = kind.model()
    _maps(how, model, kind)
    for part in list(model.module.modules())[1:]:
        if isinstance(part, torch.jit.ScriptModule):
            continue
        with _failing(part) as failed:
            before = snapshot(model.module)
            try:
                _maps(how, model, kind)
            except InjectedError:
                pass
            else:
                assert not failed, "an exception of the network was swallowed"
            difference(before, snapshot(model.module))


def callers_modes_do_not_matter(how: Method, kind: Kind) -> None:
    """Under no_grad, inference_mode and autocast, with frozen weights, the map is the same."""
    model = kind.model()
    plain = _maps(how, model, kind)[0].relevance
    with torch.no_grad():
        _same(plain, _maps(how, model, kind)[0].relevance, "under no_grad")
    with torch.inference_mode():
        _same(plain, _maps(how, model, kind)[0].relevance, "under inference_mode")
    with torch.autocast(torch.device(kind.device).type, torch.bfloat16):
        _same(plain, _maps(how, model, kind)[0].relevance, "under autocast")
    model.module.requires_grad_(requires_grad=False)
    _same(plain, _maps(how, model, kind)[0].relevance, "with frozen weights")


def precisions_work(how: Method, kind: Kind) -> None:
    """float64 and bfloat16 run, and channels_last gives the same map."""
    model = kind.model()
    if isinstance(model.module, torch.jit.ScriptModule):
        return  # its weights cannot be lent, and the guard says so
    if hasattr(model.module, "framework"):
        return  # its precision is its framework's, and the model says so
    plain = _maps(how, model, kind)[0].relevance
    _same(plain, _maps(how, model, kind, precision="float64")[0].relevance, "in float64", 1e-3)
    assert _maps(how, model, kind, precision="bfloat16")[0].relevance.dtype.itemsize >= 4
    if len(kind.shape) == 3:
        pictures = kind.pictures().contiguous(memory_format=torch.channels_last)
        _same(plain, _maps(how, model, kind, pictures)[0].relevance, "with channels_last")


def threads_may_share(how: Method, kind: Kind) -> None:
    """Two threads that explain with one model get what one thread gets."""
    model = kind.model()
    alone = [each.relevance for each in _maps(how, model, kind)]
    found: dict[int, list[Tensor]] = {}

    def work(number: int) -> None:
        found[number] = [each.relevance for each in _maps(how, model, kind)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    with warnings.catch_warnings():  # a thread that ends restores the filters of both
        warnings.simplefilter("ignore", SeewhyWarning)
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    for number in range(2):
        assert number in found, "a thread failed"
        for one, two in zip(alone, found[number], strict=True):
            assert torch.equal(one, two), "a thread got another map"


def it_is_a_value(how: Method, kind: Kind) -> None:  # noqa: ARG001 - one signature for all
    """The method survives being written as a string and being pickled."""
    assert as_method(str(how)) == how, f"{str(how)!r} does not read back as {how!r}"
    assert pickle.loads(pickle.dumps(how)) == how, "it does not pickle"  # noqa: S301 - our own


Check = Callable[[Method, Kind], None]

CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        one_finite_map_each,
        batch_does_not_matter,
        equal_pictures_equal_maps,
        memory_does_not_matter,
        one_seed_repeats,
        model_comes_back,
        model_survives_exceptions,
        callers_modes_do_not_matter,
        precisions_work,
        threads_may_share,
        it_is_a_value,
    )
}
"""Every promise by name."""


# ---------------------------------------------------------------------- what a model is


class InjectedError(RuntimeError):
    """The exception that a failing layer raises."""


class _failing:  # noqa: N801 - it reads as a verb
    """Makes a module raise when it runs, by a hook as a user may have one."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.fired = module, []  # type: ignore[var-annotated]

    def __enter__(self) -> list[bool]:
        def fail(*_: Any) -> None:
            self.fired.append(True)
            raise InjectedError("injected")

        self.handle = self.module.register_forward_pre_hook(fail)
        return self.fired

    def __exit__(self, *_: object) -> None:
        self.handle.remove()


def snapshot(module: nn.Module, *, copies: bool = True) -> dict[str, Any]:
    """Return everything about a module that must not change.

    copies: tensors as copies, to be kept; as they are, to be compared at once with such copies.
    """

    def kept(tensor: Tensor) -> Tensor:
        return tensor.detach().clone() if copies else tensor.detach()

    found: dict[str, Any] = {}
    for name, part in module.named_modules():
        found[f"{name}: training"] = part.training
        if isinstance(part, torch.jit.ScriptModule):
            continue
        for table in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks"):
            found[f"{name}: {table}"] = list(getattr(part, table).values())
        found |= {
            f"{name}: {key}": kept(value) if isinstance(value, Tensor) else value
            for key, value in part.__dict__.items()
            if not key.startswith("_")
        }
        found[f"{name}: attributes"] = sorted(part.__dict__)
        found[f"{name}: in place"] = getattr(part, "inplace", None)
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        found[f"{name}: identity"] = id(tensor) if not _scripted(module) else None
        found[f"{name}: values"] = kept(tensor)
        found[f"{name}: strides"] = tensor.stride()
        found[f"{name}: flags"] = (tensor.requires_grad, tensor.dtype, tensor.device)
        found[f"{name}: gradient"] = None if tensor.grad is None else kept(tensor.grad)
    return found


def difference(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Raise AssertionError that names the first thing about a module that has changed."""
    assert before.keys() == after.keys(), (
        f"came or went: {sorted(before.keys() ^ after.keys())[:3]}"
    )
    for name, value in before.items():
        same = (
            torch.equal(value, after[name])
            if isinstance(value, Tensor) and isinstance(after[name], Tensor)
            else value is after[name] or value == after[name]
        )
        assert same, f"the model has changed: {name}"


def _scripted(module: nn.Module) -> bool:
    return isinstance(module, torch.jit.ScriptModule)
