"""Sharing a model: threads, exceptions in any layer, callers with their own hooks and modes."""

import threading

import pytest
import torch
from zoo import entry

import seewhy as sw
from seewhy.testing.conformance import InjectedError, _failing, difference, snapshot

METHODS = (
    "grad-cam",
    "layer-cam:layer=block2",
    "gradient",
    "smoothgrad:samples=2",
    "integrated-gradients:steps=3",
    "hires-cam",
)


def test_two_threads_with_different_methods_get_what_one_gets(demo):
    """200 explanations in each of two threads, on one model."""
    pictures = torch.randn(4, 3, 64, 64)

    def explain(number):
        picture = pictures[number % 4][None]
        return sw.explain(demo, picture, number % 5, METHODS[number % len(METHODS)])[0].relevance

    serial = [explain(number) for number in range(200)]
    before = snapshot(demo.module)
    found = {0: {}, 1: {}}

    def work(thread):
        for number in range(200) if thread else reversed(range(200)):
            found[thread][number] = explain(number)

    threads = [threading.Thread(target=work, args=(each,)) for each in found]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    for results in found.values():
        assert len(results) == 200
        assert all(torch.equal(results[number], serial[number]) for number in range(200))
    difference(before, snapshot(demo.module))


def test_a_thread_that_only_predicts_is_not_disturbed(demo):
    """Hooks act in their own thread: a plain forward elsewhere gives the plain answer."""
    pictures = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = demo.module(pictures)
    seen, stop = [], threading.Event()

    def predict():
        while not stop.is_set():
            with torch.no_grad():
                seen.append(demo.module(pictures))

    thread = threading.Thread(target=predict)
    thread.start()
    for number in range(30):
        sw.explain(demo, pictures, method=METHODS[number % len(METHODS)])
    stop.set()
    thread.join()
    assert seen
    assert all(torch.equal(each, expected) and not each.requires_grad for each in seen)


@pytest.mark.parametrize(
    "name", ["torchvision/mobilenet_v2", "timm/vit_tiny_patch16_224", "hf/Swin"]
)
def test_an_exception_in_any_layer_leaves_the_model_as_it_was(name):
    """Injected into every module that runs, the model in training mode and bit-identical after."""
    known = entry(name)
    module = known.build()
    model = sw.Model(module, input_shape=known.shape)
    pictures = torch.randn(1, *known.shape)
    sw.explain(model, pictures, method="grad-cam", target=sw.targets.Regression(0))
    ran = {layer.name for layer in model.layers()}
    before = snapshot(module)
    for layer in sorted(ran):
        part = module.get_submodule(layer)
        with _failing(part), pytest.raises(InjectedError):
            sw.explain(model, pictures, method="grad-cam", target=sw.targets.Regression(0))
    difference(before, snapshot(module))
