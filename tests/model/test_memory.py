"""Where memory runs out: parts and batches are halved, down to one picture."""

import pytest
import torch
from torch import nn

import seewhy as sw
from seewhy.errors import NoMemoryError, SeewhyWarning
from seewhy.model.tape.memory import in_parts, out_of_memory
from seewhy.model.tape.passes import counted, spend
from seewhy.testing import KINDS

CUDA = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
CPU = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you "
    "tried to allocate 8000 bytes. Error code 12 (Cannot allocate memory)"
)
METHODS = (
    "gradient",
    "grad-cam",
    "integrated-gradients:steps=6",
    "occlusion:patch=4,stride=4",
    "rise:samples=20",
    "ablation-cam",
    "conductance:steps=5",
    "layer-integrated-gradients:steps=5",
    "fullgrad",
    "smoothgrad:samples=2",
    "score-cam",
)


class Tight(nn.Module):
    """A network that takes so many rows at once, and runs out of memory with more."""

    def __init__(self, most, error=CUDA):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6, 4)
        self.most, self.error, self.asked = most, error, []

    def forward(self, pictures):
        self.asked.append(len(pictures))
        if len(pictures) > self.most:
            raise self.error
        return self.head(self.conv(pictures).relu().mean((2, 3)))


def pictures(count=8):
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("method", METHODS)
def test_the_maps_are_those_of_a_machine_with_memory(method):
    expected = sw.explain(Tight(1000).eval(), pictures(), 0, method)
    found = sw.explain(Tight(3).eval(), pictures(), 0, method)
    for one, two in zip(expected, found, strict=True):
        torch.testing.assert_close(two.relevance, one.relevance)


@pytest.mark.parametrize("method", ["gradient", "grad-cam", "integrated-gradients:steps=6"])
def test_what_failed_is_not_counted(method):
    expected = sw.explain(Tight(1000).eval(), pictures(), 0, method)
    found = sw.explain(Tight(3).eval(), pictures(), 0, method)
    assert [each.passes for each in found] == [each.passes for each in expected]


@pytest.mark.parametrize(
    "error", [CUDA, CPU, MemoryError(), RuntimeError("MPS backend out of memory")]
)
def test_whatever_says_so_is_heeded(error):
    found = sw.explain(Tight(2, error).eval(), pictures(4), 0, "gradient")
    assert len(found) == 4


@pytest.mark.parametrize("method", ["gradient", "occlusion:patch=4,stride=4", "grad-cam"])
def test_where_one_picture_is_too_much_the_error_says_what_to_do(method):
    with pytest.raises(NoMemoryError, match="smaller memory=, smaller pictures, precision"):
        sw.explain(Tight(0).eval(), pictures(1), 0, method)
    with pytest.raises(NoMemoryError, match="can't allocate memory"):
        sw.explain(Tight(0, CPU).eval(), pictures(3), 0, method)


def test_one_row_is_enough_where_nothing_is_learnt_of_two():
    expected = sw.explain(Tight(1000).eval(), pictures(), 0, "occlusion:patch=4,stride=4")
    found = sw.explain(Tight(1).eval(), pictures(), 0, "occlusion:patch=4,stride=4")
    for one, two in zip(expected, found, strict=True):
        torch.testing.assert_close(two.relevance, one.relevance)


def test_other_errors_come_out_as_they_are():
    network = Tight(3, RuntimeError("the sizes do not match")).eval()
    with pytest.raises(RuntimeError, match="sizes do not match"):
        list(in_parts(8, 8, lambda start, stop: network(pictures(stop - start))))
    assert network.asked == [8]


def test_one_picture_that_fails_costs_the_others_little():
    class Picky(Tight):
        def forward(self, pictures):
            if bool((pictures.flatten(1).amax(1) > 50).any()):
                raise ValueError("too bright")
            return super().forward(pictures)

    given, network = pictures(16), Picky(1000).eval()
    given[5] = 99
    with pytest.warns(SeewhyWarning, match="picture 5: too bright"):
        found = sw.explain(network, given, 0, "gradient")
    assert len(found) == 15
    assert len(network.asked) <= 2 * 4  # a forward for each half that is left, and its score's


def test_parts_are_halved_and_stay_small():
    tried = []

    def work(start, stop):
        tried.append((start, stop))
        spend(forwards=stop - start)
        if stop - start > 2:
            raise CUDA
        return start

    with counted() as passes:
        found = list(in_parts(11, 8, work))
    ends = [(0, 2), (2, 4), (4, 6), (6, 8), (8, 10), (10, 11)]
    assert tried == [(0, 6), (0, 3), *ends]  # 11 in at most 8 are 6 and 5
    assert found == [(start, stop, start) for start, stop in ends]
    assert passes.forwards == 11
    with pytest.raises(NoMemoryError), counted() as passes:
        list(in_parts(2, 2, lambda *_: work(0, 9)))
    assert passes.forwards == 0


@pytest.mark.parametrize(
    ("count", "at_once", "parts"), [(8, 6, [4, 4]), (16, 6, [6, 6, 4]), (5, 9, [5]), (0, 4, [])]
)
def test_parts_are_as_few_and_as_even_as_can_be(count, at_once, parts):
    found = [stop - start for start, stop, _ in in_parts(count, at_once, lambda *_: None)]
    assert found == parts


def test_what_is_no_lack_of_memory():
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not out_of_memory(ValueError("out of memory"))
    assert out_of_memory(NoMemoryError("a smaller part may still fit"))


def test_nothing_of_a_network_is_left_when_it_is_gone():
    """Its tensors, those of graphs too, which the collector cannot see into."""
    import gc

    def tensors():
        gc.collect()
        return sum(isinstance(each, torch.Tensor) for each in gc.get_objects())

    def use():
        module = KINDS["plain"].model().module
        for method in ("gradient", "grad-cam", "lrp", "occlusion:patch=8", "deeplift", "fullgrad"):
            sw.explain(sw.Model(module), KINDS["plain"].pictures(), 0, method)

    use()
    before = tensors()
    for _ in range(3):
        use()
    assert tensors() <= before + 5
