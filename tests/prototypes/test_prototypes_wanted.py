"""What prototypes are made for: near means, and for sums of all that can be asked."""

import pytest
import torch
from torch import nn

import seewhy as sw
from seewhy.data.world import CLASSES, generate
from seewhy.errors import MethodError, SeewhyWarning, TargetError
from seewhy.model.tape.record import record
from seewhy.prototypes import Distance, TotalVariation, class_means, concept, objective
from seewhy.targets import Direction, Neuron

# ---------------------------------------------------------------------- means


def test_class_means_are_those_of_the_model_input():
    world, model = generate(30, seed=4), sw.load("demo")
    means = class_means(model, list(world.pictures), world.labels.tolist())
    for cls in range(5):
        own = torch.tensor(world.labels == cls)
        expected = model.prepare(list(world.pictures)).tensor[own].mean(0)
        torch.testing.assert_close(means[cls], expected, atol=1e-5, rtol=1e-5)
    named = class_means(model, list(world.pictures), [CLASSES[i] for i in world.labels])
    assert torch.equal(means, named)
    with pytest.raises(TargetError, match="one for each"):
        class_means(model, list(world.pictures), [0])


def test_pictures_for_means_that_cannot_be_read_are_left_out_and_said(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    pictures = [*generate(4, seed=4).pictures, tmp_path / "broken.png"]
    with pytest.warns(SeewhyWarning, match="broken"):
        made = sw.prototype("demo", "disk", mean=pictures, classes=[0, 1, 0, 1, 0], steps=1)
    again = sw.read(made.save(tmp_path / "made.npz"))
    assert [str(each) for each in again.failures] == [str(made.failures[0])]
    assert "broken" in str(again.failures[0])


def test_prototypes_near_means_of_pictures_lie_between():
    world, model = generate(30, seed=4), sw.load("demo")
    near = sw.prototype(
        model, mean=list(world.pictures), classes=world.labels.tolist(), distance=1.0, steps=12
    )
    means = class_means(model, list(world.pictures), world.labels.tolist())
    far = sw.prototype(model, mean=means, distance=0.001, steps=12)
    apart = [(each.inputs - means).square().flatten(1).sum(1) for each in (near, far)]
    assert bool((apart[0] < apart[1]).all())
    assert [label for label, _ in far.predictions] == list(CLASSES)
    lacking = [each for each, cls in zip(world.pictures, world.labels, strict=True) if cls]
    with pytest.raises(MethodError, match="none of the pictures is of that class"):
        sw.prototype(model, "disk", mean=lacking, classes=[c for c in world.labels.tolist() if c])


# ---------------------------------------------------------------------- objectives


def test_objectives_add_and_subtract(linear):
    one, other = objective("disk"), objective("cross")
    assert repr(one - 0.5 * other) == "disk - 0.5 x cross"
    assert repr(-(one + 2 * other)) == "-disk - 2 x cross"
    assert repr(1.5 * (one - "cross")) == "1.5 x disk - 1.5 x cross"
    options = {"start": "zeros", "image": "pixels", "steps": 30}
    found = sw.prototype(linear, objective("a") - 0.5 * objective("b"), **options)
    weight = linear.module.weight.detach()
    assert torch.equal(found.inputs[0].sign(), (weight[0] - 0.5 * weight[1]).sign())
    assert found.targets == ("a - 0.5 x b",)
    with pytest.raises(MethodError, match="multiply by a number"):
        one * "2"
    with pytest.raises(MethodError, match="asks the network nothing"):
        sw.prototype(linear, objective(TotalVariation()))


def test_what_is_read_of_pictures_is_what_it_says():
    values = torch.tensor([[[[0.0, 1.0], [3.0, 1.0]]]])
    assert float(TotalVariation().of(values, values)) == 1 + 2 + 3 + 0
    assert float(Distance().of(values, values)) == 11
    assert float(Distance(torch.ones(1, 2, 2)).of(values, values)) == 1 + 4
    with pytest.raises(MethodError, match="give one of that shape"):
        Distance(torch.ones(4)).of(values, values)


def test_variation_smooths():
    options = {"steps": 20, "image": "pixels", "transforms": ()}
    rough = sw.prototype("demo", "disk", **options)
    smooth = sw.prototype("demo", "disk", variation=0.01, **options)
    rates = [TotalVariation().of(each.pictures, each.inputs) for each in (rough, smooth)]
    assert float(rates[1]) < 0.5 * float(rates[0])


def test_diversity_makes_pictures_of_one_target_differ():
    model = sw.load("demo")

    def alike(found):
        layer = model.layer("halve")
        outcome = record(model, model.prepare(found.inputs), watch=[layer])
        values = outcome.activations[layer].flatten(2)
        grams = nn.functional.normalize((values @ values.mT).flatten(1), dim=1)
        return float((grams @ grams.T).triu(1).sum() / 3)

    options = {"each": 3, "steps": 10, "layer": "halve"}
    plain = sw.prototype(model, "disk", **options)
    diverse = sw.prototype(model, "disk", diversity=100.0, **options)
    assert alike(diverse) < alike(plain)
    assert diverse.targets == ("disk",) * 3
    mean = torch.zeros(1, 3, 64, 64)
    near, apart = (
        sw.prototype(model, "disk", mean=mean, diversity=each, **options) for each in (0.0, 5.0)
    )
    assert alike(apart) < alike(near)  # begun at one point
    alone = sw.prototype(model, "disk", mean=mean, steps=10)
    torch.testing.assert_close(near.inputs[:1], alone.inputs, atol=1e-3, rtol=0)


def test_a_channel_a_place_a_direction_a_concept_a_function_are_excited():
    model = sw.load("demo")
    world = generate(8, seed=3)
    found = sw.factorize(model, list(world.pictures), 3)
    vector = torch.zeros(96)
    vector[5] = 2.0
    targets = [
        Neuron("block4", 5),
        Neuron("block2", 7, (10, 12)),
        Direction("block4", vector),
        concept(found, 1),
        lambda logits: logits[:, 1] - logits[:, 3],
    ]
    made = sw.prototype(model, targets, steps=30, image="pixels", transforms=(), seed=2)
    assert bool((made.loss < made.losses[0] - 0.5).all())
    assert made.targets[0] == "channel 5 of block4"
    assert made.targets[3] == "concept 2 of block4"
    torch.testing.assert_close(made.losses[0, 0], made.losses[0, 2], atol=0.05, rtol=0.05)
    # a neuron at a place is excited by its own surroundings alone
    before = made.trajectory[0, 1]
    moved = (made.pictures[1] - before).abs().amax(0) > 0
    rows, columns = moved.nonzero().unbind(1)
    assert rows.min() >= 2 * 10 - 6
    assert rows.max() <= 2 * 10 + 7
    assert columns.min() >= 2 * 12 - 6
    assert columns.max() <= 2 * 12 + 7
    with pytest.raises(TargetError, match="take a vector of that layer"):
        sw.prototype(model, Direction("block4", torch.ones(5)), steps=1)
    with pytest.raises(TargetError, match="there is no concept 3"):
        concept(found, 3)
