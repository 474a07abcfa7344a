"""The gradient of a batch norm is that of its formula, whatever torch makes of it."""

import torch
from torch import nn

import seewhy as sw


class Transposing(nn.Module):
    """A batch norm whose output is read token by token: what comes back to it is transposed."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.tokens, self.head = nn.LayerNorm(8), nn.Linear(8, 5)

    def forward(self, pictures):
        features = self.norm(self.conv(pictures)).flatten(2).transpose(1, 2)
        return self.head(self.tokens(features).relu().mean(1))


def test_a_batch_norm_before_tokens_has_the_gradient_of_the_formula():
    """torch itself gets it wrong for one picture on a CPU; float64 and pairs it gets right."""
    model = sw.Model(Transposing().eval())
    pictures = torch.randn(2, 3, 8, 8)
    together = sw.explain(model, pictures, method="gradient")
    alone = sw.explain(model, pictures[:1], method="gradient")
    torch.testing.assert_close(alone[0].relevance, together[0].relevance, atol=1e-6, rtol=1e-4)
