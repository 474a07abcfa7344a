"""The small convolutional network that is trained on the generated world."""

from torch import Tensor, nn

from seewhy.data.world.scene import CLASSES


class Block(nn.Module):
    """A convolution, batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / stride, W / stride), not negative."""
        activations: Tensor = self.relu(self.norm(self.conv(features)))
        return activations


class WorldNet(nn.Module):
    """Four blocks, the mean over space and a linear layer: 96,853 parameters.

    For pictures of 64x64, `block1` gives (N, 24, 32, 32), `block2` (N, 48, 32, 32), `halve`
    (N, 48, 16, 16), `block3` (N, 64, 16, 16), `block4` (N, 96, 16, 16), `mean` (N, 96, 1, 1).
    """

    def __init__(self, classes: int = len(CLASSES)) -> None:
        super().__init__()
        # An even kernel: with an odd one, a stride of two would shift every map by half a pixel.
        self.block1 = Block(3, 24, kernel=6, stride=2)
        self.block2 = Block(24, 48)
        self.halve = nn.MaxPool2d(2)
        # Not halved again: a shape is 20 pixels wide, and a map of 8x8 cannot point into it.
        self.block3 = Block(48, 64)
        self.block4 = Block(64, 96)
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(96, classes)

    def forward(self, pictures: Tensor) -> Tensor:
        """Map normalised pictures, float (N, 3, H, W), to logits, (N, classes)."""
        features = self.halve(self.block2(self.block1(pictures)))
        features = self.mean(self.block4(self.block3(features)))
        logits: Tensor = self.head(self.flatten(features))
        return logits
