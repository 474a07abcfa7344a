"""Every registered method on the architectures that people use: maps, or one error that says why.

What is refused and what is warned of stands in the table of `where`, and is asserted both ways.
"""

import warnings

import pytest
import torch
from cheap import for_architectures
from where import PAGE, REFUSED, WARNED, page
from zoo import ZOO, everything, model_of, pictures_of, smaller

import seewhy as sw
from seewhy.errors import SeewhyError, SeewhyWarning
from seewhy.methods import methods
from seewhy.testing.conformance import SAME, difference, snapshot

QUICK = ("hf/ViT", "hf/ResNet", "hf/Swin")
SWEEP = [
    pytest.param(each, id=each.id, marks=() if each.name in QUICK else pytest.mark.slow)
    for each in ZOO
]
NO_CLASSES = ("torchvision/fcn_resnet50", "hf/ViTModel", "hf/CLIPVision")
FIRST_TOKENS = {"timm/levit_128s": (14, 14)}  # its later stages have fewer: rollout draws on these
LEAST = 1e-4  # of its largest value: a map that varies less than this says nothing


@pytest.mark.parametrize("entry", SWEEP)
def test_every_method_gives_maps_or_says_why_not(entry):
    network = smaller(entry)
    model = model_of(network)
    pictures = pictures_of(network, 2)
    target = everything() if entry.name in NO_CLASSES else None
    before = snapshot(model.module)
    faults = []
    for name in methods():
        how = for_architectures(name, network.shape)
        try:
            check(how, entry, model, pictures, target)
            difference(before, snapshot(model.module, copies=False))
        except Exception as error:  # noqa: BLE001 - all that is wrong is told, not the first alone
            faults.append(f"{how}: {type(error).__name__}: {str(error).partition(chr(10))[0]}")
    assert not faults, "\n" + "\n".join(faults)


def check(how, entry, model, pictures, target):
    """One method on one architecture: two maps that vary, each as of its picture alone, or not."""
    refused, warned = (
        [each for each in table if each.of(how.name, entry)] for table in (REFUSED, WARNED)
    )
    found, said = explained(how, model, pictures, target)
    if not found:
        assert any(each.says in said[0] for each in refused), f"it refuses: {said[0]}"
        return
    assert not refused, "it gives maps where the table has it refused"
    for each in said:
        assert any(wanted.says in each for wanted in warned), f"it warns: {each}"
    for wanted in warned:
        assert any(wanted.says in each for each in said), f"it does not warn: {wanted.says}"

    for why in found:
        relevance, space = why.relevance, space_of(how, why, model, entry)
        assert relevance.shape[1:] == space, f"a map of {tuple(relevance.shape)}, not of {space}"
        assert torch.isfinite(relevance).all()
    if any(wanted.blank for wanted in warned):
        return
    for why in found:
        flat = why.relevance.flatten(1)
        apart = float((flat - flat.mean(1, keepdim=True)).square().mean().sqrt())
        assert apart > LEAST * float(flat.abs().max()), "the map is flat"
    if gap(how, model, pictures, target, found) > SAME:
        # double precision tells what rounding makes of it from what another picture does
        finer = {"precision": "float64"}
        found, _ = explained(how, model, pictures, target, **finer)
        apart = gap(how, model, pictures, target, found, **finer)
        assert apart <= SAME, f"alone its map differs by {apart:.3g} of its maximum"


def explained(how, model, pictures, target, **options):
    """The answers and what was warned of; none, and the error, where the method refuses."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SeewhyWarning)
        try:
            found = sw.explain(model, pictures, target, how, **options)
        except SeewhyError as error:
            return (), [str(error)]
    ours = (each for each in caught if issubclass(each.category, SeewhyWarning))
    return found, [str(each.message) for each in ours]


def gap(how, model, pictures, target, found, **options):
    """How far the first map is from that of its picture alone, as a share of its largest value."""
    (alone,), _ = explained(how, model, pictures[:1], target, **options)
    one, two = (each.relevance.double() for each in (found[0], alone))
    return float((one - two).abs().max() / one.abs().max())


def space_of(how, why, model, entry):
    """The space that a method's map should have: the input's, that of the layer, or its own."""
    space = model.input_shape[1:]
    if how.name in ("sobol", "hsic"):
        return (how.grid,) * len(space)
    if how.name in ("attention-rollout", "gradient-attention-rollout"):
        return FIRST_TOKENS.get(entry.name, model.layer().grid)
    at_input = why.layers == ("input",) or how.name == "guided-grad-cam"
    return space if at_input else model.layer().grid


def test_the_table_is_of_methods_and_architectures_that_there_are():
    for each in (*REFUSED, *WARNED):
        assert set(each.methods) <= set(methods()), each
        assert all(any(one in (entry.name, entry.id) for entry in ZOO) for one in each.networks)


def test_the_page_is_current():
    assert PAGE.read_text() == page(), "run: python tests/support/where.py"
