"""The tape's traps, one by one: each is a way in which an answer would be silently wrong."""

import threading
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import seewhy as sw
from seewhy.errors import (
    CancelledError,
    MethodError,
    NoSpaceError,
    PictureError,
    SeewhyWarning,
)
from seewhy.model.tape.record import record
from seewhy.model.tape.replay import Mode, replay
from seewhy.testing import KINDS


class Head(nn.Module):
    """What follows a convolution in these tests."""

    def __init__(self, channels=6):
        super().__init__()
        self.linear = nn.Linear(channels, 4)

    def forward(self, features):
        return self.linear(features.mean((2, 3)))


def relevance(model, pictures, method="gradient", target=0, **options):
    found = sw.explain(model, pictures, target, method, **options)
    return torch.stack([each.relevance for each in found])


def test_a_neuron_before_an_in_place_relu_is_read_before_it():
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(inplace=True), Head()).eval()
    pictures = torch.randn(2, 3, 8, 8)
    values = net[0](pictures)[:, 0]
    place = tuple(int(i) for i in torch.nonzero(values[0] < 0)[0])
    for why in sw.explain(net, pictures, sw.targets.Neuron("0", 0, place), "gradient")[:1]:
        assert why.score == pytest.approx(float(values[0][place]), rel=1e-5)
        assert float(why.relevance.abs().max()) > 0


def test_the_network_behind_an_embedder_is_in_evaluation_mode_too():
    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 6, 3), nn.Linear(6, 4)

        def forward(self, x):
            x = nn.functional.dropout(self.conv(x).mean((2, 3)), 0.5, self.training)
            return self.head(x)

    root = Root().train()
    model = sw.embedder(sw.Model(root.eval(), input_shape=(3, 8, 8)))
    root.train()
    pictures = torch.randn(2, 3, 8, 8)
    with pytest.warns(SeewhyWarning, match="training mode"):
        found = record(model, model.prepare(pictures)).outcome.main
    torch.testing.assert_close(found, root.conv(pictures).mean((2, 3)))
    assert root.training


def test_a_wrapper_that_forwards_attributes_is_not_taken_off():
    class Wrap(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def __getattr__(self, name):
            try:
                return super().__getattr__(name)
            except AttributeError:
                return getattr(super().__getattr__("net"), name)

        def forward(self, x):
            return -self.net(x)

    net = nn.Sequential(nn.Conv2d(3, 6, 3), Head()).eval()
    wrapped = Wrap(torch.compile(net)).eval()
    pictures = torch.randn(1, 3, 8, 8)
    assert sw.Model(wrapped).module is wrapped
    torch.testing.assert_close(relevance(wrapped, pictures), -relevance(net, pictures))


def test_compiled_networks_stay_compiled_after_overlapping_explanations():
    from torch._dynamo import eval_frame

    before = eval_frame._stance.stance
    nets = [nn.Sequential(nn.Conv2d(3, 6, 3), Head()).eval() for _ in range(2)]
    models = [sw.Model(torch.compile(net)) for net in nets]
    ready = threading.Barrier(2)

    def work(model):
        ready.wait()
        for _ in range(10):
            sw.explain(model, torch.randn(2, 3, 8, 8), 0, "gradient")

    threads = [threading.Thread(target=work, args=(each,)) for each in models]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert eval_frame._stance.stance == before


def test_probabilities_stay_probabilities_in_half_precision():
    model = KINDS["softmax"].model()
    pictures = KINDS["softmax"].pictures()
    full = [each.prediction[0].probability for each in sw.explain(model, pictures)]
    half = [
        each.prediction[0].probability for each in sw.explain(model, pictures, precision="bfloat16")
    ]
    assert half == pytest.approx(full, abs=0.02)


@pytest.mark.parametrize("kind", ["tokens-first", "tupled", "signal", "writing"])
def test_replay_of_unusual_networks(kind):
    model = KINDS[kind].model()
    prepared = model.prepare(KINDS[kind].pictures())
    for layer in [each for each in model.layers() if each.spatial][1:]:
        recording = record(model, prepared, layers=[layer])
        rows = torch.tensor([2, 0])
        outcome = replay(recording, layer, recording.activations[layer][rows], rows)
        torch.testing.assert_close(outcome.main, recording.outcome.main[rows])


def test_a_plan_that_has_grown_old_is_made_anew():
    class Skipping(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
            self.head, self.state = Head(), {"skip": False}

        def forward(self, x):
            first = self.one(x)
            second = self.two(first)
            return self.head(second + first if self.state["skip"] else second)

    net = Skipping().eval()
    model = sw.Model(net)
    prepared = model.prepare(torch.randn(2, 3, 8, 8))
    layer, rows = model.layer("two"), torch.arange(2)
    for skip in (False, True):
        net.state["skip"] = skip
        recording = record(model, prepared, layers=[layer])
        outcome = replay(recording, layer, recording.activations[layer], rows)
        torch.testing.assert_close(outcome.main, recording.outcome.main)
        assert model.findings.plan(layer, prepared).mode is not Mode.FULL


def test_layers_follow_what_is_changed_in_the_network():
    net = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), Head()).eval()
    model = sw.Model(net, input_shape=(3, 8, 8))
    assert model.layer("0").shape == (6, 8, 8)
    net[0].stride = (2, 2)
    assert model.layer("0").shape == (6, 4, 4)


def test_a_head_of_zeros_is_no_finding_that_lasts():
    net = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), Head()).eval()
    model = sw.Model(net, input_shape=(3, 8, 8))
    nn.init.zeros_(net[2].linear.weight)
    with pytest.warns(SeewhyWarning, match="all zero"):
        model.layer()
    nn.init.normal_(net[2].linear.weight)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.layer()


def test_the_second_output_of_a_layer_can_be_meant():
    model = KINDS["tupled"].model()
    assert model.layer("pair").shape == (8,)
    second = model.layer(sw.Layer("pair", output=1))
    assert second.shape == (8, 16, 16)
    assert relevance(model, KINDS["tupled"].pictures(), sw.GradCAM(second)).shape[-2:] == (16, 16)


def test_a_frozen_backbone_under_its_own_no_grad():
    class Frozen(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Conv2d(3, 6, 3), Head()

        def forward(self, x):
            with torch.no_grad():
                features = self.body(x)
            return self.head(features.relu())

    net = Frozen().eval()
    pictures = torch.randn(2, 3, 8, 8)
    features = net.body(pictures)
    weight = net.head.linear.weight[0] / features[0, 0].numel()
    expected = ((features > 0) * weight[:, None, None]).mean((2, 3), keepdim=True) * features
    found = relevance(net, pictures, sw.GradCAM(sw.Layer("body", "channels-first")))
    torch.testing.assert_close(found, expected.sum(1, keepdim=True).detach())


def test_further_inputs_have_a_row_for_each_picture():
    kind = KINDS["two-inputs"]
    model, pictures = kind.model(), kind.pictures()
    for rows in (1, 7):
        with pytest.raises(PictureError, match=f"{rows} rows for 3 pictures"):
            sw.explain(model, pictures, others={"extra": torch.randn(rows, 4)})
    as_array = {"extra": kind.more()["extra"].numpy()}
    together = relevance(model, pictures, others=kind.more())
    assert torch.equal(relevance(model, pictures, others=as_array), together)


def test_batches_are_as_large_as_asked(demo):
    sizes = []
    handle = demo.module.block1.register_forward_hook(
        lambda _, args, __: sizes.append(len(args[0]))
    )
    try:
        sw.explain(demo, torch.randn(40, 3, 64, 64), 0, "gradient", batch=40, memory=10**10)
        assert sizes[-1] == 40
        sizes.clear()
        sw.explain(demo, torch.randn(40, 3, 64, 64), 0, "gradient", batch=40, memory=10**7)
        assert max(sizes) < 40
        assert sum(sizes) == 40  # no forward is spent on what is predicted
    finally:
        handle.remove()


def test_one_picture_cannot_fail_the_others():
    class Rooted(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = Head(3)

        def forward(self, x):
            return self.head(x.abs().sqrt())

    pictures = torch.rand(3, 3, 8, 8) + 0.1
    pictures[1] = 0  # where the root has no slope
    with pytest.warns(SeewhyWarning, match="picture 1: .*NaN"):
        found = sw.explain(Rooted().eval(), pictures, 0, "gradient")
    assert [each.source for each in found] == ["picture 0", "picture 2"]
    assert [each.source for each in found.failures] == ["picture 1"]


def test_a_picture_too_small_for_a_map_fails_alone():
    net = nn.Sequential(nn.Conv2d(3, 6, 8, stride=8), nn.ReLU(), Head()).eval()
    pictures = [
        np.random.default_rng(i).integers(0, 255, (s, s, 3), np.uint8) for i, s in ((0, 32), (1, 8))
    ]
    model = sw.Model(
        net, lambda image: torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1) / 255.0
    )
    with pytest.warns(SeewhyWarning, match="picture 1"):
        found = sw.explain(model, pictures, 0, "grad-cam")
    assert len(found) == 1
    assert isinstance(found.failures[0].error, NoSpaceError)


def test_state_that_is_no_tensor_is_no_hindrance():
    class Extra(nn.Linear):
        def get_extra_state(self):
            return {"version": 3}

        def set_extra_state(self, state):
            pass

    net = nn.Sequential(nn.Flatten(), Extra(12, 3)).eval()
    assert relevance(net, torch.randn(2, 3, 2, 2)).shape == (2, 3, 2, 2)


def test_scripted_weights_cannot_be_lent():
    with pytest.raises(MethodError, match="TorchScript keeps its weights"):
        sw.explain(KINDS["scripted"].model(), KINDS["scripted"].pictures(), precision="float64")


def test_what_was_explained_before_cancelling_is_kept(demo):
    asked = iter([False, True])
    pictures = torch.randn(3, 3, 64, 64)
    with pytest.warns(SeewhyWarning, match="2 explained until then"):
        found = sw.explain(demo, pictures, method="gradient", batch=1, cancel=lambda: next(asked))
    assert len(found) == 2
    with pytest.raises(sw.errors.CancelledError):
        sw.explain(demo, pictures, method="integrated-gradients", cancel=lambda: True)


def test_cancelling_is_no_failure_of_a_method(demo):
    with pytest.raises(CancelledError):
        sw.compare(demo, np.zeros((64, 64, 3), np.uint8), ["smoothgrad"], cancel=lambda: True)


def test_no_probabilities_are_invented():
    for kind in ("regression", "embedding"):
        model = KINDS[kind].model()
        found = sw.explain(model, KINDS[kind].pictures(), KINDS[kind].target, "gradient")
        assert found[0].prediction == ()


def test_layers_given_as_modules_are_written_by_name(demo):
    why = sw.explain(demo, torch.randn(1, 3, 64, 64), 0, "grad-cam", layer=demo.module.block3)[0]
    assert why.method == "grad-cam:layer=block3"


@pytest.mark.parametrize(
    ("pictures", "options", "says"),
    [
        (torch.randn(3, 16, 16), {}, "add the batch axis"),
        (torch.empty(0, 3, 16, 16), {}, "no pictures"),
        (torch.randn(1, 3, 16, 16), {"batch": 1.5}, "batch is 1.5"),
        (torch.randn(1, 3, 16, 16), {"memory": "1GB"}, "memory is '1GB'"),
        (torch.randn(1, 3, 16, 16), {"seed": None}, "seed is None"),
        (torch.randn(1, 3, 16, 16), {"device": "toaster"}, "cannot be used here"),
        (torch.randn(1, 3, 16, 16), {"precision": "half"}, "use one of"),
        (torch.randn(1, 3, 16, 16), {"layer": ()}, "empty list"),
    ],
)
def test_bad_input_says_what_to_do(pictures, options, says):
    with pytest.raises(sw.errors.SeewhyError, match=says):
        sw.explain(KINDS["plain"].model(), pictures, **options)


def test_a_list_of_tensors_without_batch_axes_is_understood():
    model, pictures = KINDS["plain"].model(), KINDS["plain"].pictures()
    assert torch.equal(relevance(model, list(pictures)), relevance(model, pictures))


def test_targets_may_come_as_numbers_of_any_make():
    model, pictures = KINDS["plain"].model(), KINDS["plain"].pictures()
    expected = relevance(model, pictures, target=[0, 1, 2])
    for targets in (torch.arange(3), np.arange(3), range(3), (0, 1, 2)):
        assert torch.equal(relevance(model, pictures, target=targets), expected)


def test_a_network_that_sets_itself_up_when_it_first_runs_can_still_do_so():
    """As transformers do: a flag on the model, hooks on its layers."""

    class Lazy(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head, self.seen = nn.Conv2d(3, 6, 3), Head(), []

        def forward(self, x):
            if "ready" not in self.__dict__:
                self.ready = True
                self.conv.register_forward_hook(lambda _, __, output: output + 1)
            self.seen.append(len(x))
            return self.head(self.conv(x))

    net, pictures = Lazy().eval(), torch.randn(2, 3, 8, 8)
    relevance(net, pictures)
    assert not net.conv._forward_hooks
    assert net.seen == []
    expected = net.head(nn.functional.conv2d(pictures, net.conv.weight, net.conv.bias) + 1)
    torch.testing.assert_close(net(pictures), expected)
