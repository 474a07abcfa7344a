"""A method is a value: the same in Python and as a string, pickled, compared; others add theirs."""

import pickle
from dataclasses import FrozenInstanceError, dataclass, fields, replace
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import nn

import seewhy as sw
from seewhy.errors import MethodError
from seewhy.methods import Attribution, Method, as_method, method
from seewhy.methods import registry as registered
from seewhy.model.layers import Layer

KNOWN = sorted(sw.methods())
every_method = pytest.mark.parametrize("name", KNOWN)


@pytest.fixture
def registry():
    """The registry, put back afterwards with whatever a test has added taken out again."""
    before = dict(registered._methods)
    yield registered._methods
    registered._methods.clear()
    registered._methods.update(before)
    registered._load_all.cache_clear()


# ---------------------------------------------------------------------- values of every setting

layer_names = st.from_regex(r"[a-z_][a-z_0-9]{0,6}(\.[a-z0-9_]{1,5}){0,3}(#[0-9])?", fullmatch=True)
numbers = st.floats(allow_nan=False, allow_infinity=False)


def values(hint, depth):
    """What a setting of this type can be."""
    if get_origin(hint) in (UnionType, Union):
        return st.one_of([values(kind, depth) for kind in get_args(hint)])
    if get_origin(hint) is Literal:
        return st.sampled_from(get_args(hint))
    if get_origin(hint) is tuple:
        return st.lists(layer_names, min_size=2, max_size=3).map(tuple)
    if isinstance(hint, type) and issubclass(hint, Method):
        return instances(depth + 1)
    simple = {
        bool: st.booleans(),
        int: st.integers(1, 10**6),
        float: st.one_of(numbers, st.floats(1e-9, 1e9)),
        str: layer_names.filter(lambda text: text != "none"),
        NoneType: st.none(),
    }
    return simple.get(hint, st.nothing())


def settings_of(name, depth):
    """Instances of one method; settings that it refuses are not drawn."""
    cls = sw.methods()[name]
    hints = get_type_hints(cls)
    if depth > 2:
        return st.just(cls())
    each = {field.name: values(hints[field.name], depth) for field in fields(cls)}
    chosen = st.fixed_dictionaries({}, optional=each)
    return chosen.map(lambda options: (cls, options))


@st.composite
def instances(draw, depth=0, names=tuple(KNOWN)):
    found = draw(st.sampled_from(names).flatmap(lambda name: settings_of(name, depth)))
    if isinstance(found, Method):
        return found
    cls, options = found
    try:
        return cls(**options)
    except MethodError:
        assume(False)


@settings(deadline=None, max_examples=300, suppress_health_check=list(HealthCheck))
@given(instances())
def test_a_method_written_down_and_read_is_the_same(how):
    assert as_method(str(how)) == how
    assert str(as_method(str(how))) == str(how)


@every_method
@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_method_is_a_value(name, data):
    how = data.draw(instances(names=(name,)))
    same = replace(how)
    assert same == how
    assert same is not how
    assert hash(same) == hash(how)
    assert repr(same) == repr(how)
    assert pickle.loads(pickle.dumps(how)) == how  # noqa: S301 - our own
    assert as_method(str(how)) == how
    for field in fields(how):
        with pytest.raises(FrozenInstanceError):
            setattr(how, field.name, None)


@every_method
def test_a_name_alone_is_the_method_with_its_defaults(name):
    cls = sw.methods()[name]
    assert as_method(name) == as_method(cls) == cls() == as_method(cls())
    assert str(cls()) == name
    assert as_method(f" {name}: ") == cls()


@every_method
def test_every_setting_is_written_and_only_where_it_is_not_the_default(name):
    how = sw.methods()[name]()
    for field in fields(how):
        assert f"{field.name}=" not in str(how)


# ---------------------------------------------------------------------- strings


@pytest.mark.parametrize(
    ("spec", "meant"),
    [
        ("integrated-gradients:steps=20", sw.IntegratedGradients(steps=20)),
        ("integrated-gradients:baseline=-0.5", sw.IntegratedGradients(baseline=-0.5)),
        ("grad-cam:layer=layer3", sw.GradCAM(layer="layer3")),
        ("grad-cam:layer=layer3+layer4", sw.GradCAM(layer=("layer3", "layer4"))),
        ("grad-cam:layer=relu#2", sw.GradCAM(layer="relu#2")),
        ("grad-cam:layer=7", sw.GradCAM(layer="7")),
        ("grad-cam:layer=none", sw.GradCAM()),
        ("cam:channels=20", sw.CAM(channels=20)),
        ("cam:channels=None", sw.CAM()),
        ("gradient:power=squared", sw.Gradient("squared")),
        ("smoothgrad:samples=10,method=grad-cam", sw.SmoothGrad(sw.GradCAM(), 10)),
        (" smoothgrad: samples = 10 , noise=1e-3 ", sw.SmoothGrad(samples=10, noise=0.001)),
        (
            "smoothgrad:method=(layer-cam:layer=layer3),samples=10",
            sw.SmoothGrad(sw.LayerCAM("layer3"), 10),
        ),
        (
            "smoothgrad:noise=0.1,method=(integrated-gradients:steps=5,baseline=1)",
            sw.SmoothGrad(sw.IntegratedGradients(5, 1.0), noise=0.1),
        ),
        (
            "smoothgrad:method=(smoothgrad:method=(gradient:power=squared),samples=2),samples=3",
            sw.SmoothGrad(sw.SmoothGrad(sw.Gradient("squared"), 2), 3),
        ),
    ],
)
def test_a_string_means_what_it_says(spec, meant):
    assert as_method(spec) == meant
    assert as_method(str(meant)) == meant


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("grad-cm", r"no method 'grad-cm': did you mean .*grad-cam"),
        ("integrated gradients", r"no method .*did you mean integrated-gradients"),
        ("zzzzzz", r"no method 'zzzzzz': there are .*grad-cam"),
        ("", r"no method '': there are"),
        ("grad-cam:samples=3", r"'grad-cam' has no setting 'samples': it has layer"),
        ("integrated-gradients:steps=many", r"steps is 'many': it can be a whole number"),
        ("integrated-gradients:steps=2.5", r"steps is '2\.5': it can be a whole number"),
        ("integrated-gradients:steps=0", r"steps is 0: give a number above zero"),
        ("integrated-gradients:steps=-3", r"steps is -3: give a number above zero"),
        ("smoothgrad:noise=nan", r"noise is nan: give a number above zero"),
        ("smoothgrad:noise=inf", r"noise is inf: give a number above zero"),
        ("gradient:power=cubed", r"power is 'cubed': it can be 'signed' or 'absolute' or 'sq"),
        ("cam:channels=0", r"channels is 0: give a number above zero"),
        ("cam:channels=few", r"channels is 'few': it can be a whole number"),
        ("grad-cam:layer", r"'layer' in 'grad-cam:layer' is no setting: write name=value"),
        ("smoothgrad:method=(layer-cam:layer=a", r"the brackets in .* do not match"),
        ("smoothgrad:method=layer-cam:layer=a)", r"the brackets in .* do not match"),
        ("smoothgrad:method=(layer-cam:layer=a))", r"the brackets in .* do not match"),
        ("smoothgrad:method=(grad-cm),samples=2", r"no method 'grad-cm': did you mean"),
        ("smoothgrad:method=nothing-of-the-kind-at-all", r"no method 'nothing"),
    ],
)
def test_a_string_that_means_nothing_says_what_would(spec, message):
    with pytest.raises(MethodError, match=message):
        as_method(spec)


@pytest.mark.parametrize("spec", [None, 3, ["grad-cam"], int, nn.ReLU()], ids=repr)
def test_only_names_methods_and_their_classes_are_methods(spec):
    with pytest.raises(MethodError, match="is no method: give its name, or an instance"):
        as_method(spec)


@pytest.mark.parametrize("steps", [0, -1, float("nan"), float("inf"), "many", None])
def test_settings_are_checked_in_python_too(steps):
    with pytest.raises(MethodError, match="integrated-gradients: steps"):
        sw.IntegratedGradients(steps=steps)


def test_methods_differ_where_a_setting_does():
    assert sw.GradCAM("layer3") != sw.GradCAM("layer4")
    assert sw.GradCAM("layer3") != sw.LayerCAM("layer3")
    assert len({sw.GradCAM(), sw.GradCAM(None), sw.GradCAM("layer4")}) == 2


def test_the_string_of_a_method_is_what_an_explanation_carries():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)).eval()
    method = sw.SmoothGrad(sw.LayerCAM("0"), samples=2)
    (found,) = sw.explain(sw.Model(module), torch.randn(1, 3, 8, 8), 0, method)
    assert found.method == "smoothgrad:method=(layer-cam:layer=0),samples=2"
    assert as_method(found.method) == method


# ---------------------------------------------------------------------- the registry


@dataclass(frozen=True)
class Brightness(Method):
    """The picture itself, times a factor: a method of somebody else."""

    factor: float = 1.0

    def attribute(self, model, prepared, score, run):
        score.bind(model, prepared)
        return Attribution(prepared.tensor * self.factor)


def test_somebody_else_can_add_a_method(registry):
    added = method("brightness", paper="Nobody 2000, eq. 1", cost="nothing")(Brightness)
    assert added is Brightness
    assert sw.methods()["brightness"] is Brightness
    assert as_method("brightness:factor=2") == Brightness(2.0)
    assert pickle.loads(pickle.dumps(Brightness(2.0))) == Brightness(2.0)  # noqa: S301 - our own
    assert "| brightness |" in str(sw.methods())
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).eval()
    pictures = torch.randn(2, 3, 2, 2)
    found = sw.explain(sw.Model(module), pictures, 0, "brightness:factor=2")
    assert torch.equal(torch.stack([each.relevance for each in found]), 2 * pictures)


@dataclass(frozen=True)
class _Entry:
    """As importlib.metadata has it: a package's entry, which loading imports."""

    value: Any

    def load(self):
        return self.value()


def test_methods_of_other_packages_are_found_by_their_entry_points(registry, monkeypatch):
    asked = []

    def entries(*, group):
        asked.append(group)
        register = method("from-a-package", paper="Nobody 2000", cost="nothing")
        return [_Entry(lambda: register(type("Packaged", (Brightness,), {})))]

    monkeypatch.setattr(registered, "entry_points", entries)
    registered._load_all.cache_clear()
    assert str(as_method("from-a-package:factor=3")) == "from-a-package:factor=3.0"
    assert "from-a-package" in sw.methods()
    assert asked == ["seewhy.methods"]


def test_a_name_taken_twice_is_an_error(registry):
    with pytest.raises(MethodError, match=r"'grad-cam' is taken by seewhy\.methods\.cam\.GradCAM"):
        method("grad-cam", paper="Nobody 2000", cost="nothing")(Brightness)
    assert sw.methods()["grad-cam"] is sw.GradCAM
    assert Brightness.name != "grad-cam"


def test_a_name_taken_twice_is_an_error_though_the_classes_are_called_the_same(registry):
    namesake = type("GradCAM", (Brightness,), {"__module__": "somebody.else"})
    with pytest.raises(MethodError, match="is taken by"):
        method("grad-cam", paper="Nobody 2000", cost="nothing")(namesake)
    assert sw.methods()["grad-cam"] is sw.GradCAM


def test_a_module_that_is_imported_again_may_register_again(registry):
    register = method("brightness", paper="Nobody 2000", cost="nothing")
    register(Brightness)
    again = type("Brightness", (Method,), {"__module__": Brightness.__module__})
    assert register(again) is again


def test_every_method_says_where_it_comes_from_and_what_it_costs():
    for row in sw.methods().rows():
        cls = sw.methods()[row["name"]]
        assert cls.__doc__
        assert row["paper"]
        assert row["cost"]
        assert row["family"]
        assert set(cls.needs) <= {"gradient", "layers", "operations"}


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(sw.GradCAM(layer=(None, "layer4")), id="the default layer among others"),
        pytest.param(sw.GradCAM(layer=Layer("norm", "channels-last")), id="a described layer"),
    ],
)
def test_what_a_string_cannot_hold_is_not_written_as_something_else(how):
    # A saved explanation carries the string: what it says must not be another method.
    assert as_method(str(how)) == how


def test_a_choice_that_does_not_exist_is_refused_in_python_as_in_a_string():
    with pytest.raises(MethodError, match="power"):
        sw.Gradient(power="abs")


def test_a_number_of_steps_is_a_whole_number_in_python_as_in_a_string():
    with pytest.raises(MethodError, match="steps"):
        sw.IntegratedGradients(steps=2.5)
