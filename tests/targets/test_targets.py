"""Every target's number is its formula, computed here by hand, and gradients flow from all."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from torch import nn

import seewhy as sw
from seewhy.errors import LayerError, SeewhyWarning, TargetError
from seewhy.targets import (
    Box,
    Class,
    Custom,
    Difference,
    LogitSum,
    LogProbability,
    Margin,
    Neuron,
    Probability,
    Region,
    Regression,
    Similarity,
    as_target,
)

LABELS = ["cat", "dog", "bird", "fish"]


class Net(nn.Module):
    """A small classifier whose last step can be chosen."""

    def __init__(self, outputs=4, ending=None):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.fc = nn.Linear(6, outputs)
        self.ending = ending or nn.Identity()

    def forward(self, x):
        return self.ending(self.fc(self.conv(x).relu().mean((2, 3))))


class Then(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.fixture
def net():
    return Net().eval()


@pytest.fixture
def model(net):
    return sw.Model(net, labels=LABELS)


@pytest.fixture
def pictures():
    return torch.randn(5, 3, 8, 8)


def scores(model, pictures, target, **options):
    """The values of a target, after checking that its gradient is that of autograd."""
    found = sw.explain(model, pictures, target, "gradient", **options)
    return torch.tensor([each.score for each in found]), torch.stack([e.relevance for e in found])


def check(model, pictures, target, formula):
    """Values and gradients of a target are those of a formula of the pictures."""
    values, gradients = scores(model, pictures, target)
    leaf = pictures.clone().requires_grad_()
    expected = formula(leaf)
    torch.testing.assert_close(values, expected.detach())
    (gradient,) = torch.autograd.grad(expected.sum(), leaf)
    assert gradient.any()
    torch.testing.assert_close(gradients, gradient)


# ---------------------------------------------------------------------- classes


FORMULAS = {
    "the predicted class": (None, lambda z: z.amax(1)),
    "a number": (2, lambda z: z[:, 2]),
    "a numpy number": (np.int64(2), lambda z: z[:, 2]),
    "a name": ("dog", lambda z: z[:, 1]),
    "a digit": ("3", lambda z: z[:, 3]),
    "Class": (Class("fish"), lambda z: z[:, 3]),
    "Probability": (Probability("cat"), lambda z: z.softmax(1)[:, 0]),
    "Probability of the predicted": (Probability(), lambda z: z.softmax(1).amax(1)),
    "LogProbability": (LogProbability(1), lambda z: z[:, 1] - z.logsumexp(1)),
    "Margin": (Margin("cat", "fish"), lambda z: z[:, 0] - z[:, 3]),
    "Margin to the runner-up": (Margin(), lambda z: z.topk(2).values @ torch.tensor([1.0, -1.0])),
    "Margin of a class to the best other": (
        Margin(1),
        lambda z: z[:, 1] - z[:, [0, 2, 3]].amax(1),
    ),
    "LogitSum": (LogitSum(), lambda z: z.sum(1)),
    "Regression": (Regression(2), lambda z: z[:, 2]),
    "Regression from the end": (Regression(-1), lambda z: z[:, 3]),
    "a function": (lambda z: z[:, 0] * z[:, 1], lambda z: z[:, 0] * z[:, 1]),
    "Custom": (Custom(lambda z: z.square().sum(1)), lambda z: z.square().sum(1)),
    "Similarity": (
        Similarity(torch.tensor([1.0, 2, 0, -1])),
        lambda z: torch.cosine_similarity(z, torch.tensor([[1.0, 2, 0, -1]])),
    ),
    "Difference": (
        Difference([1.0, 2, 0, -1]),
        lambda z: 1 - torch.cosine_similarity(z, torch.tensor([[1.0, 2, 0, -1]])),
    ),
    "margin:...": ("margin:label=cat,against=dog", lambda z: z[:, 0] - z[:, 1]),
    "margin: by place": ("margin:cat,1", lambda z: z[:, 0] - z[:, 1]),
    "class:...": ("class:dog", lambda z: z[:, 1]),
    "probability:...": ("probability:2", lambda z: z.softmax(1)[:, 2]),
    "log-probability:...": ("log-probability:spec=cat", lambda z: z.log_softmax(1)[:, 0]),
    "logit-sum": ("logit-sum", lambda z: z.sum(1)),
    "regression:...": ("regression:output=1", lambda z: z[:, 1]),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_a_target_is_its_formula(name, model, net, pictures):
    target, formula = FORMULAS[name]
    check(model, pictures, target, lambda x: formula(net(x)))


def test_a_mean_of_several_references_is_that_of_their_directions(model, net, pictures):
    """A long reference counts no more than a short one."""
    references = torch.randn(3, 4)
    longer = references * torch.tensor([[1.0], [10.0], [0.1]])
    direction = torch.nn.functional.normalize(references).mean(0)
    formula = torch.cosine_similarity(net(pictures), direction[None]).detach()
    values, _ = scores(model, pictures, Similarity(longer))
    torch.testing.assert_close(values, formula)


def test_targets_are_named_by_what_they_explain(model, net, pictures):
    best = LABELS[int(net(pictures[:1]).argmax())]
    names = {
        None: best,
        1: "dog",
        Probability("cat"): "probability of cat",
        LogProbability("cat"): "log-probability of cat",
        Margin("cat", "dog"): "cat rather than dog",
        Regression(1): "output 1",
        Neuron("conv", 2): "channel 2 of conv",
    }
    found = sw.explain(model, pictures[:1], list(names), "gradient")
    assert [each.target for each in found] == list(names.values())
    assert sw.explain(net, pictures[:1], 3, "gradient")[0].target == "class 3"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (4, "there is no class 4: the model has 4 classes, 0 to 3"),
        (-1, "there is no class -1: the model has 4 classes, 0 to 3"),
        ("catt", "there is no class 'catt': did you mean 'cat'?"),
        ("zebra", "the classes are cat, dog, bird, fish"),
        (Probability("zebra"), "the classes are cat, dog, bird, fish"),
        (Margin("cat", "cat"), "the margin of 'cat' against itself is zero"),
        (Margin("cat", 9), "there is no class 9"),
        (Regression(4), "there is no output 4: the model gives 4"),
        (Regression(-5), "there is no output -5"),
        (Similarity(torch.randn(3)), "the reference has 3 numbers and the model gives 4"),
        (lambda z: z, r"the target function gave \(\d, 4\).*a tensor of the shape \(\d,\)"),
        (lambda z: z.sum(), r"the target function gave \(\)"),
        (lambda z: 3.0, "the target function gave float"),
        (Box(), "a box needs a detector's output"),
        (Region(), "a region needs a segmentation output"),
        (True, "True is no target"),
        (3.5, "float is no target"),
        ([0, 1], "2 targets for 5 pictures"),
        ([], "the list of targets is empty"),
        ("margin:label=cat,agianst=dog", "target 'margin' has no 'agianst=dog'.*label, against"),
        ("margin:cat,dog,bird", "has no 'bird'"),
        ("neuron:layer=conv", "target 'neuron' needs layer, channel, position"),
        ("region:mask=all", "has no 'mask=all': it has label"),
    ],
)
def test_a_wrong_target_says_what_there_is(model, pictures, target, said):
    with pytest.raises(TargetError, match=said):
        sw.explain(model, pictures, target, "gradient", batch=5)


def test_a_name_without_labels_says_how_to_give_them(net, pictures):
    with pytest.raises(TargetError, match=r"came without labels. Give Model\(\.\.\., labels="):
        sw.explain(net, pictures, "cat", "gradient")


def test_a_score_that_is_not_finite_is_refused(net, pictures):
    pictures[0, 0, 0, 0] = float("nan")
    with pytest.raises(TargetError, match="is not a finite number"):
        sw.explain(net, pictures[:1], 0, "gradient")
    with pytest.warns(SeewhyWarning, match="picture 0: the score of 'class 0' is not a finite"):
        found = sw.explain(net, pictures, 0, "gradient")
    assert [each.source for each in found] == ["picture 1", "picture 2", "picture 3", "picture 4"]
    assert [each.score for each in found] == pytest.approx(net(pictures[1:])[:, 0].tolist())


# ---------------------------------------------------------------------- strings


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("margin:label=tabby,against=lynx", Margin("tabby", "lynx")),
        ("margin:label=3, against=lynx", Margin(3, "lynx")),
        ("probability:7", Probability(7)),
        ("neuron:layer=layer4,channel=12", Neuron("layer4", 12)),
        ("neuron:layer=layer4,channel=12,position=3+4", Neuron("layer4", 12, (3, 4))),
        ("neuron:layer4,12,3", Neuron("layer4", 12, (3,))),
        ("box", Box()),
        ("box:query=3,label=cat", Box(3, "cat")),
        ("regression:output=-1", Regression(-1)),
        ("logit-sum", LogitSum()),
        ("17", Class(17)),
        ("sports car: a fast one", Class("sports car: a fast one")),
        ("margin", Class("margin")),
    ],
)
def test_a_target_can_be_written_as_a_string(text, target):
    assert as_target(text) == target


# ---------------------------------------------------------------------- several, and for each


MIXED = [None, "dog", Margin("cat", "bird"), Probability(1), Neuron("conv", 2)]


def test_mixed_targets_in_a_batch_are_as_one_by_one(model, pictures):
    together = sw.explain(model, pictures, MIXED, "gradient", batch=5)
    for row, target in enumerate(MIXED):
        alone = sw.explain(model, pictures[row : row + 1], target, "gradient")[0]
        assert together[row].target == alone.target
        assert together[row].score == pytest.approx(alone.score, rel=1e-5)
        torch.testing.assert_close(together[row].relevance, alone.relevance)


@pytest.mark.parametrize("order", [[3, 0, 4, 1, 2], [4, 3, 2, 1, 0]])
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_the_order_of_mixed_targets_is_kept_at_any_batch_size(model, pictures, order, batch):
    straight = sw.explain(model, pictures, MIXED, "gradient")
    turned = sw.explain(model, pictures[order], [MIXED[i] for i in order], "gradient", batch=batch)
    for place, row in enumerate(order):
        assert turned[place].target == straight[row].target
        torch.testing.assert_close(turned[place].relevance, straight[row].relevance)


def test_one_target_for_each_picture(model, net, pictures):
    numbers = [3, 0, 0, 2, 1]
    values, _ = scores(model, pictures, numbers)
    torch.testing.assert_close(values, net(pictures)[torch.arange(5), numbers].detach())


def test_equal_targets_are_bound_together(model, pictures, monkeypatch):
    bound = []
    original = Class.bind
    monkeypatch.setattr(Class, "bind", lambda *a: bound.append(1) or original(*a))
    sw.explain(model, pictures, ["dog", "dog", 1, "dog", None], "gradient", batch=5)
    assert len(bound) == 3


def test_several_targets_for_one_picture(model, net, pictures):
    found = sw.explain(model, pictures[:1], [0, "dog", None, Margin(0, 1)], "gradient")
    (z,) = net(pictures[:1]).detach()
    expected = [z[0], z[1], z.max(), z[0] - z[1]]
    assert [each.score for each in found] == pytest.approx([float(e) for e in expected])


def test_several_targets_for_each_of_several_pictures(model, net, pictures):
    wanted = [[0, 1], [2], [3, 0, 1], [1], ["cat", "cat"]]
    found = sw.explain(model, pictures, wanted, "gradient", batch=3)
    z = net(pictures).detach()
    flat = [
        (row, LABELS.index(t) if isinstance(t, str) else t)
        for row, ts in enumerate(wanted)
        for t in ts
    ]
    assert [each.source for each in found] == [f"picture {row}" for row, _ in flat]
    assert [e.score for e in found] == pytest.approx(
        [float(z[row, number]) for row, number in flat]
    )


def test_several_targets_for_one_picture_given_as_such_are_several_answers():
    noise = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    model = sw.Model(Net().eval(), sw.Preprocess(8), LABELS)
    found = sw.explain(model, Image.fromarray(noise), ["cat", "dog"], "gradient")
    assert [each.target for each in found] == ["cat", "dog"]


# ---------------------------------------------------------------------- networks with one output


@pytest.mark.parametrize("ending", [nn.Identity(), Then(lambda z: z[:, 0])], ids=["(N, 1)", "(N,)"])
def test_one_output_has_the_classes_zero_and_one(ending, pictures):
    net = Net(1, ending).eval()
    model = sw.Model(net, labels=["no", "yes"])
    z = lambda x: net(x).reshape(-1)  # noqa: E731
    check(model, pictures, 1, z)
    check(model, pictures, "no", lambda x: -z(x))
    check(model, pictures, None, lambda x: z(x).abs())
    with pytest.raises(TargetError, match="the model has 2 classes, 0 to 1"):
        sw.explain(model, pictures, 2, "gradient")
    found = sw.explain(model, pictures, None, "gradient")
    for each, logit in zip(found, z(pictures).tolist(), strict=True):
        assert each.target == ("yes" if logit > 0 else "no")
        assert each.prediction[0].label == each.target
        assert each.prediction[0].probability == pytest.approx(1 / (1 + np.exp(-abs(logit))))


def test_an_output_that_lost_its_batch_axis_is_refused(pictures):
    net = Net(4, Then(lambda z: z.squeeze())).eval()
    with pytest.raises(TargetError, match=r"answered 4 times for 1 pictures.*squeeze"):
        sw.explain(net, pictures[:1], None, "gradient")


# ---------------------------------------------------------------------- softmax at the end


def test_a_network_that_ends_in_a_softmax_is_said_to_give_probabilities(pictures):
    net = Net(4, nn.Softmax(1)).eval()
    model = sw.Model(net, labels=LABELS)
    check(model, pictures, "cat", lambda x: net(x)[:, 0])
    check(model, pictures, Probability("cat"), lambda x: net(x)[:, 0])
    check(model, pictures, LogProbability("cat"), lambda x: net(x)[:, 0].log())
    why = sw.explain(model, pictures[:1], "cat", "gradient")[0]
    assert why.target == "cat (probability: the network ends in a softmax)"
    assert sum(each.probability for each in why.prediction) == pytest.approx(1)


# ---------------------------------------------------------------------- places


def test_a_neuron_is_its_channel_at_a_place_or_on_average(model, net, pictures):
    check(model, pictures, Neuron("conv", 3, (2, 5)), lambda x: net.conv(x)[:, 3, 2, 5])
    check(model, pictures, Neuron("conv", 3), lambda x: net.conv(x)[:, 3].mean((1, 2)))
    check(model, pictures, Neuron(net.conv, 0, (0, 0)), lambda x: net.conv(x)[:, 0, 0, 0])
    check(model, pictures, Neuron("fc", 1), lambda x: net.fc(net.conv(x).relu().mean((2, 3)))[:, 1])
    check(model, pictures, "neuron:conv,3,2+5", lambda x: net.conv(x)[:, 3, 2, 5])


def test_a_neuron_of_a_token_is_found_on_its_grid():
    """Channel and place of a transformer's block, by hand: the class token comes first."""
    config = transformers.ViTConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
        num_labels=3,
    )
    net = transformers.ViTForImageClassification(config).eval()
    pictures = torch.randn(2, 3, 32, 32)
    tokens = net.vit(pictures, output_hidden_states=True).hidden_states[1]
    values, _ = scores(net, pictures, Neuron("vit.layers.0", 7, (1, 2)))
    torch.testing.assert_close(values, tokens[:, 1 + 1 * 4 + 2, 7].detach())


@pytest.mark.parametrize(
    ("target", "error", "said"),
    [
        (Neuron("conv", 6), TargetError, "'conv' has 6 channels: there is no 6"),
        (Neuron("conv", -1), TargetError, "there is no -1"),
        (Neuron("conv", 0, (8, 0)), TargetError, r"has the grid \(8, 8\): \(8, 0\) is not on it"),
        (Neuron("conv", 0, (-1, 0)), TargetError, "is not on it"),
        (Neuron("conv", 0, (1,)), TargetError, "is not on it"),
        (Neuron("fc", 0, (0, 0)), TargetError, r"has the grid \(\)"),
        (Neuron("cnv", 0), LayerError, "did you mean conv"),
    ],
)
def test_a_neuron_that_is_not_there_says_what_is(model, pictures, target, error, said):
    with pytest.raises(error, match=said):
        sw.explain(model, pictures, target, "gradient")


# ---------------------------------------------------------------------- networks without classes


def test_without_classes_none_says_which_targets_fit(pictures):
    maps = nn.Conv2d(3, 4, 3).eval()
    with pytest.raises(TargetError, match=r"no class scores.*\(\d, 4, 6, 6\).*targets.Region"):
        sw.explain(maps, pictures, None, "gradient")
    with pytest.raises(TargetError, match=r"targets\.Region"):
        sw.explain(maps, pictures, 2, "gradient")
    tokens = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(2)).eval()
    with pytest.raises(TargetError, match=r"targets\.Box"):
        sw.explain(tokens, pictures, None, "gradient")
    with pytest.raises(TargetError, match=r"Similarity\.of"):
        sw.explain(sw.embedder(sw.Model(Net().eval(), input_shape=(3, 8, 8))), pictures)


def test_a_transformers_backbone_is_an_embedding():
    config = transformers.ViTConfig(
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
    )
    net = transformers.ViTModel(config).eval()
    pictures = torch.randn(3, 3, 32, 32)
    with pytest.raises(TargetError, match=r"no class scores.*\(\d, 24\).*Similarity.of"):
        sw.explain(net, pictures, None, "gradient")
    model = sw.Model(net)
    reference = net(pictures[:1]).pooler_output.detach()
    check(
        model,
        pictures,
        Similarity.of(model, pictures[:1]),
        lambda x: torch.cosine_similarity(net(x).pooler_output, reference),
    )


# ---------------------------------------------------------------------- segmentation


class Segmenting(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3, padding=1, stride=2)
        self.head = nn.Conv2d(4, 3, 1)

    def forward(self, x):
        small = self.head(self.body(x).relu())
        small = small - small.mean((2, 3), keepdim=True)  # no class wins everywhere
        big = nn.functional.interpolate(small, x.shape[2:], mode="bilinear")
        return OrderedDict(out=big, aux=big * 2)


@pytest.fixture
def segmenting():
    return Segmenting().eval()


def over(values, mask):
    return (values * mask).flatten(1).sum(1) / mask.flatten(1).sum(1)


def test_a_region_is_where_the_class_is_predicted(segmenting, pictures):
    model = sw.Model(segmenting, labels=["sky", "road", "tree"])
    predicted = segmenting(pictures)["out"].argmax(1)
    everywhere = set.intersection(*(set(each.unique().tolist()) for each in predicted))
    assert all(len(each.unique()) > 1 for each in predicted)
    assert everywhere
    for number in everywhere:
        check(
            model,
            pictures,
            Region(model.labels[number]),
            lambda x, k=number: over(segmenting(x)["out"][:, k], (predicted == k).float()),
        )


def test_a_region_without_a_class_is_that_of_the_commonest(segmenting, pictures):
    predicted = segmenting(pictures)["out"].argmax(1)
    common = [int(torch.bincount(each.flatten()).argmax()) for each in predicted]
    values, _ = scores(segmenting, pictures, Region())
    found = segmenting(pictures)["out"].detach()
    expected = [found[i, c][predicted[i] == c].mean() for i, c in enumerate(common)]
    torch.testing.assert_close(values, torch.stack(expected))
    names = [each.target for each in sw.explain(segmenting, pictures, Region(), "gradient")]
    assert names == [f"class {c} in the region" for c in common]


@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor, lambda mask: mask.tolist()])
def test_a_region_is_its_mask(segmenting, pictures, make):
    mask = np.zeros((8, 8), dtype=bool)
    mask[2:5, 1:7] = True
    check(
        segmenting,
        pictures,
        Region(2, make(mask)),
        lambda x: segmenting(x)["out"][:, 2, 2:5, 1:7].mean((1, 2)),
    )


def test_a_mask_of_another_size_is_resized(segmenting, pictures):
    mask = np.zeros((16, 24), dtype=bool)
    mask[4:10, 3:21] = True
    small = np.zeros((8, 8), dtype=bool)
    small[2:5, 1:7] = True
    big, _ = scores(segmenting, pictures, Region(2, mask))
    torch.testing.assert_close(big, scores(segmenting, pictures, Region(2, small))[0])


def test_a_mask_for_each_picture(segmenting, pictures):
    masks = torch.rand(5, 8, 8) > 0.5
    check(
        segmenting,
        pictures,
        Region(0, masks),
        lambda x: over(segmenting(x)["out"][:, 0], masks.float()),
    )


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (
            Region(1, np.zeros((8, 8), dtype=bool)),
            r"region of .class 1. is empty",
        ),
        (Region(1, np.ones((2, 8, 8), dtype=bool)), r"the mask has the shape \(2, 8, 8\)"),
        (Region(3), "there is no class 3: the model has 3 classes"),
    ],
)
def test_a_region_that_is_not_there_says_so(segmenting, pictures, target, said):
    with pytest.raises(TargetError, match=said):
        sw.explain(segmenting, pictures, target, "gradient")


def test_a_place_that_a_mask_covers_in_part_counts_in_part(pictures):
    net = nn.Conv2d(3, 2, 4, stride=4).eval()
    mask = np.zeros((8, 8), dtype=bool)
    mask[:4, 2:6] = True
    mask[:2, 4:] = False
    check(
        net,
        pictures,
        Region(1, mask),
        lambda x: (2 * net(x)[:, 1, 0, 0] + net(x)[:, 1, 0, 1]) / 3,
    )


def test_a_thing_smaller_than_a_place_of_the_output_is_still_a_region(pictures):
    """One pixel of a mask, over an output that is four times coarser."""
    net = nn.Conv2d(3, 2, 4, stride=4).eval()
    mask = np.zeros((8, 8), dtype=bool)
    mask[5, 6] = True
    check(net, pictures, Region(1, mask), lambda x: net(x)[:, 1, 1, 1])


def test_segformer_is_explained_by_region():
    config = transformers.SegformerConfig(
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 8, 8, 8],
        num_attention_heads=[1, 1, 1, 1],
        decoder_hidden_size=8,
        num_labels=3,
    )
    net = transformers.SegformerForSemanticSegmentation(config).eval()
    pictures = torch.randn(2, 3, 64, 64)
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[4:9, 2:5] = True
    check(net, pictures, Region(1, mask), lambda x: net(x).logits[:, 1, 4:9, 2:5].mean((1, 2)))


# ---------------------------------------------------------------------- detectors with queries


def yolos():
    config = transformers.YolosConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=[32, 32],
        patch_size=8,
        num_detection_tokens=5,
        num_labels=3,
    )
    return transformers.YolosForObjectDetection(config).eval()


def detr():
    backbone = transformers.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 8, 8],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage4"],
    )
    config = transformers.DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=backbone,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_queries=5,
        num_labels=3,
    )
    return transformers.DetrForObjectDetection(config).eval()


@pytest.fixture(params=[yolos, detr], ids=["YOLOS", "DETR"])
def detector(request):
    torch.manual_seed(0)
    net = request.param()
    with torch.no_grad():  # untrained, all queries say the same
        for name, weight in net.named_parameters():
            if "class_labels_classifier" in name:
                weight.normal_(0, 2)
    return net


def test_a_box_is_the_class_score_of_a_query(detector):
    pictures = torch.randn(2, 3, 32, 32)
    check(detector, pictures, Box(3, 1), lambda x: detector(x).logits[:, 3, 1])
    check(detector, pictures, "box:query=3,label=1", lambda x: detector(x).logits[:, 3, 1])


def test_the_default_box_is_the_most_confident_that_is_not_nothing(detector):
    pictures = torch.randn(2, 3, 32, 32)
    objects = detector(pictures).logits.softmax(2)[:, :, :3].detach()
    best = [divmod(int(each.argmax()), 3) for each in objects]

    def formula(x):
        logits = detector(x).logits
        return torch.stack([logits[i, query, label] for i, (query, label) in enumerate(best)])

    check(detector, pictures, Box(), formula)
    names = [each.target for each in sw.explain(detector, pictures, Box(), "gradient")]
    assert names == [f"class {label} in box {query}" for query, label in best]


def test_a_box_of_a_class_is_the_query_that_is_surest_of_it(detector):
    pictures = torch.randn(2, 3, 32, 32)
    model = sw.Model(detector, labels=["cat", "dog", "bird"])
    best = detector(pictures).logits.softmax(2)[:, :, 2].argmax(1)
    check(
        model,
        pictures,
        Box(label="bird"),
        lambda x: detector(x).logits[torch.arange(2), best, 2],
    )


def test_a_query_that_is_not_there_is_refused(detector):
    with pytest.raises(TargetError, match="no query 5: the detector has 0 to 4"):
        sw.explain(detector, torch.randn(1, 3, 32, 32), Box(5), "gradient")
    with pytest.raises(TargetError, match="no class 3: the model has 3 classes"):
        sw.explain(detector, torch.randn(1, 3, 32, 32), Box(0, 3), "gradient")


def test_a_detector_without_a_box_says_which_target_fits(detector):
    with pytest.raises(TargetError, match=r"no class scores.*targets.Box\(\)"):
        sw.explain(detector, torch.randn(1, 3, 32, 32), None, "gradient")


class Queries(nn.Module):
    """(N, 2, K) logits that are a linear function of the picture's mean."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, x):
        return {"logits": self.logits * x[:, 0, 0].mean(1)[:, None, None]}


def test_a_label_for_every_class_means_that_no_class_stands_for_nothing():
    """As in RT-DETR: each class by itself. Without labels, the last class is DETR's "no object"."""
    net = Queries([[0.0, 0.5, 3.0], [1.0, 0.9, -2.0]]).eval()
    picture = torch.ones(1, 3, 4, 4)
    named = {
        labels: sw.explain(sw.Model(net, labels=list(labels)), picture, Box(), "gradient")[0].target
        for labels in ("abc", "ab")
    }
    assert named == {"abc": "c in box 0", "ab": "a in box 1"}


# ---------------------------------------------------------------------- detectors with lists


class Detecting(nn.Module):
    """Boxes where they always are, scores from the brightness in each; below 0.1 it is dropped."""

    BOXES = ((0.0, 0.0, 4.0, 4.0), (4.0, 4.0, 8.0, 8.0), (0.0, 4.0, 4.0, 8.0))
    LABELS = (1, 2, 1)

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, x):
        found = []
        for each in x:
            scores = torch.stack(
                [
                    each[:, int(y0) : int(y1), int(x0) : int(x1)].mean()
                    for x0, y0, x1, y1 in self.BOXES
                ]
            )
            order = (scores * self.gain).argsort(descending=True)
            order = order[scores[order] > 0.1]
            found.append(
                {
                    "boxes": torch.tensor(self.BOXES)[order],
                    "labels": torch.tensor(self.LABELS)[order],
                    "scores": (scores * self.gain)[order],
                }
            )
        return found


@pytest.fixture
def lit():
    """Two pictures whose three places are lit differently; (row, brightness of each box)."""
    pictures = torch.zeros(2, 3, 8, 8)
    for row, levels in enumerate([(0.3, 0.8, 0.5), (0.6, 0.2, 0.9)]):
        for (x0, y0, x1, y1), level in zip(Detecting.BOXES, levels, strict=True):
            pictures[row, :, int(y0) : int(y1), int(x0) : int(x1)] = level
    return pictures


@pytest.fixture
def detecting():
    return sw.Model(Detecting().eval(), labels=["nothing", "cat", "dog"])


@pytest.mark.parametrize(
    ("target", "boxes", "names"),
    [
        (Box(), (1, 2), ("dog", "cat")),
        (Box(label="cat"), (2, 2), ("cat", "cat")),
        (Box(label=2), (1, 1), ("dog", "dog")),
        (Box(1), (2, 0), ("cat", "cat")),
    ],
)
def test_the_score_of_a_detection_depends_on_its_box_alone(detecting, lit, target, boxes, names):
    found = sw.explain(detecting, lit, target, "gradient")
    for row, (each, box, name) in enumerate(zip(found, boxes, names, strict=True)):
        x0, y0, x1, y1 = (int(side) for side in Detecting.BOXES[box])
        assert each.score == pytest.approx(float(lit[row, 0, y0, x0]))
        assert each.target == f"{name} in its box"
        expected = torch.zeros(3, 8, 8)
        expected[:, y0:y1, x0:x1] = 1 / 48
        torch.testing.assert_close(each.relevance, expected)


def test_a_detectors_answer_is_no_classification(detecting, lit):
    assert sw.explain(detecting, lit, Box(), "gradient")[0].prediction == ()
    with pytest.raises(TargetError, match=r"no class scores: it gives boxes.*targets.Box\(\)"):
        sw.explain(detecting, lit, None, "gradient")


def test_detections_are_the_same_in_a_batch_and_alone(detecting, lit):
    together = sw.explain(detecting, lit, [Box(), Box(label="cat")], "gradient")
    alone = [
        sw.explain(detecting, lit[:1], Box(), "gradient")[0],
        sw.explain(detecting, lit[1:], Box(label="cat"), "gradient")[0],
    ]
    for one, other in zip(together, alone, strict=True):
        assert (one.target, one.score) == (other.target, other.score)
        assert torch.equal(one.relevance, other.relevance)


def test_a_detection_is_found_again_by_class_and_overlap(detecting, lit):
    """Score times overlap (Petsiuk et al. 2021): half the overlap, half the score; gone is zero."""
    from seewhy.model.tape.record import Outcome

    bound = Box(label="cat").bind(Outcome(detecting.module(lit[:1])), detecting.labels)
    box = torch.tensor(Detecting.BOXES[2])
    moved = box + torch.tensor([2.0, 0, 2.0, 0])  # a third of the union
    cases = [
        ({"boxes": box[None], "labels": [1], "scores": [0.7]}, 0.7),
        ({"boxes": moved[None], "labels": [1], "scores": [0.6]}, 0.2),
        ({"boxes": box[None], "labels": [2], "scores": [0.7]}, 0.0),
        ({"boxes": torch.stack([box, moved]), "labels": [1, 1], "scores": [0.1, 0.9]}, 0.3),
        ({"boxes": torch.zeros(0, 4), "labels": [], "scores": []}, 0.0),
    ]
    for given, expected in cases:
        later = {
            "boxes": given["boxes"],
            "labels": torch.tensor(given["labels"], dtype=torch.long),
            "scores": torch.tensor(given["scores"], dtype=torch.float32),
        }
        value = bound.read(Outcome([later], clean=False), torch.tensor([0]))
        assert float(value) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (Box(3), "there is no detection 3: the picture has 3"),
        (Box(label=0), "no 0 was detected in the picture"),
        (Box(label="nothing"), "no 'nothing' was detected"),
        (Box(label="zebra"), "the classes are nothing, cat, dog"),
    ],
)
def test_a_detection_that_is_not_there_says_what_is(detecting, lit, target, said):
    with pytest.raises(TargetError, match=said):
        sw.explain(detecting, lit, target, "gradient")


def test_where_nothing_is_detected_there_is_no_box(detecting):
    with pytest.raises(TargetError, match="nothing was detected in the picture"):
        sw.explain(detecting, torch.zeros(1, 3, 8, 8), Box(), "gradient")


def test_a_name_of_a_detection_needs_labels(lit):
    with pytest.raises(TargetError, match="came without labels"):
        sw.explain(Detecting().eval(), lit, Box(label="cat"), "gradient")


# ---------------------------------------------------------------------- targets meet other methods


@pytest.mark.parametrize(
    "target", [None, Probability("cat"), Margin(), Similarity([1.0, 2, 0, -1]), lambda z: z[:, 0]]
)
def test_integrated_gradients_of_any_target_sum_to_its_change(model, net, pictures, target):
    """Completeness (Sundararajan et al. 2017, prop. 1): the question stays what it was."""
    found = sw.explain(model, pictures, target, "integrated-gradients:steps=200")
    for each in found:
        assert each.checks["completeness gap"] < 0.02


def test_the_probability_of_one_output_is_its_sigmoid():
    net, pictures = nn.Sequential(nn.Flatten(), nn.Linear(12, 1)).eval(), torch.randn(4, 3, 2, 2)
    logits = net(pictures)[:, 0].detach()
    for target, expected in (
        (Probability(1), logits.sigmoid()),
        (Probability(0), 1 - logits.sigmoid()),
        (LogProbability(1), logits.sigmoid().log()),
    ):
        found = sw.explain(net, pictures, target, "gradient")
        torch.testing.assert_close(torch.tensor([each.score for each in found]), expected)
