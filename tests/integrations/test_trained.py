"""What is trained is explained as it is at the time, and shared with other threads."""

import copy
import pickle
import threading

import pytest
import torch
from torch import nn
from watched import SIDE, examples, photos, small, watching

import seewhy as sw
from seewhy.errors import SeewhyWarning

MASKS = "rise:samples=20,grid=3"


def together(*calls):
    threads = [threading.Thread(target=each) for each in calls]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


def in_training():
    net = small()
    net(examples()[0][:4]).sum().backward()
    return net, [each.grad for each in net.parameters()]


def untouched(net, gradients):
    same = all(a is b.grad for a, b in zip(gradients, net.parameters(), strict=True))
    return same and all(part.training for part in net.modules())


def test_two_threads_leave_modes_and_gradients_as_they_were():
    net, gradients = in_training()
    watches = [watching(methods=(MASKS, "grad-cam")) for _ in range(3)]
    together(*(lambda each=each: [each.log(net, step) for step in (1, 2)] for each in watches))
    assert [each.steps for each in watches] == [[1, 2]] * 3
    assert untouched(net, gradients)


@pytest.mark.filterwarnings("ignore:.*is in training mode")
def test_a_log_beside_an_explanation_leaves_them_as_well():
    watch = watching(methods=MASKS)
    for _ in range(3):
        net, gradients = in_training()
        model = sw.Model(net, sw.Preprocess(SIDE))
        together(
            lambda net=net: [watch.log(net, step) for step in (1, 2, 3)],
            lambda model=model: [sw.explain(model, photos(), 1, MASKS) for _ in range(3)],
        )
        assert untouched(net, gradients)
    assert watch.failures == {}


def test_a_file_is_read_anew_at_each_epoch(tmp_path):
    given, path = examples()[0][:1], tmp_path / "last.pt2"
    watch = watching(pictures=given, preprocess=None, target=[1], methods="gradient")
    for step in (1, 2):
        net = small().eval()
        nn.init.constant_(net[-1].bias, float(step))
        torch.export.save(torch.export.export(net, (given,)), path)
        [found] = watch.log(path, step)["gradient"]
        assert found.score == pytest.approx(net(given)[0, 1].item(), rel=1e-5)


def test_a_network_is_looked_through_once():
    watch, net = watching(), small()
    watch.log(net, 1)
    first = watch._trained.model(net)
    watch.log(net, 2)
    assert watch._trained.model(net) is first


class Unpicklable(nn.Sequential):
    def __reduce_ex__(self, protocol):
        raise TypeError("not this one")


def test_the_watcher_can_be_copied_after_a_network_that_cannot(tmp_path):
    pytest.importorskip("tensorboard")
    watch = watching(tensorboard=tmp_path)
    watch.log(Unpicklable(*small()), 1)
    for twin in (copy.deepcopy(watch), pickle.loads(pickle.dumps(watch))):  # noqa: S301
        assert twin.steps == [1]
        assert list(twin.log(small(), 2)) == ["grad-cam"]
        twin.close()
    watch.close()


class Holder(nn.Module):
    def __init__(self):
        super().__init__()
        self.classifier = small()


def test_a_module_without_a_forward_is_told_what_to_do():
    with pytest.warns(SeewhyWarning, match=r"no forward: explain .*network='classifier'"):
        assert watching().log(Holder(), 1) == {}
