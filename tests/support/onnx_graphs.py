"""ONNX models for the tests: a small network exported, and graphs written as text."""

import warnings

import pytest
import torch
from torch import nn

from seewhy.model.bridge.onnx import load_onnx
from seewhy.testing.kinds import KINDS

CHANNELS_LAST = """last (float[N, 8, 6, 3] image) => (float[N, 2] scores) <
    float[2] which = {0.0, 1.0}, int64[2] axes = {1, 2}, float[3, 2] head = {1,2,3,4,5,6}
> {
    mean = ReduceMean<axes = [1, 2], keepdims = 0>(image)
    scores = MatMul(mean, head)
}"""


SEVERAL = """several (int64[N] which, float[N, 3, 4, 4] image, float[N, 2] more)
=> (float[N, 3, 4, 4] features, float[N, 2] logits, int64[N] same) {
    features = Relu(image)
    mean = ReduceMean<axes = [1, 2, 3], keepdims = 0>(features)
    two = Constant<value = int64[1] {1}>()
    column = Unsqueeze(mean, two)
    logits = Mul(column, more)
    same = Identity(which)
}"""


def small():
    """A network with weights as after training, all different from each other."""
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 5),
    )
    draw = torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        nn.init.normal_(parameter, 0.1, 0.3, generator=draw)
    nn.init.normal_(net[1].running_mean, 0, 0.2, generator=draw)
    nn.init.uniform_(net[1].running_var, 0.5, 2, generator=draw)
    return net.eval()


def exported(net, batch=None, size=16):
    """The network exported as torch does it, with any number of rows where `batch` is None."""
    pytest.importorskip("onnxscript")
    like = torch.randn(batch or 2, 3, size, size)
    shapes = ({0: torch.export.Dim("batch")},) if batch is None else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.onnx.export(net, (like,), dynamo=True, dynamic_shapes=shapes, verbose=False)
    return made.model_proto


def written(text, opset=17):
    """A graph from its text."""
    parser = pytest.importorskip("onnx.parser")
    return parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]> {text}')


def scores(model, pictures, **others):
    return model.outputs(model.prepare(pictures, **others))


class Kind:
    """An ONNX model as the conformance checks ask for it."""

    def __init__(self, proto, differentiable):
        self.name, self.device, self.shape = "onnx", "cpu", (3, 16, 16)
        self.target = 1
        self._proto, self._differentiable = proto, differentiable

    def model(self):
        return load_onnx(self._proto, differentiable=self._differentiable)

    def pictures(self, count=3):
        return KINDS["plain"].pictures(count)

    def more(self, count=3):
        return None
