"""Insertion and deletion beside the forwards they need, and imputation beside a sparse solve."""

from __future__ import annotations

import warnings

import numpy as np
import quantus
import torch
from pytorch_grad_cam.metrics.road import NoisyLinearImputer
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import spsolve
from torchvision.models import resnet50

import seewhy as sw
from benchmarks.harness import Section, Work, interleaved, ratio_rows
from seewhy.fill import Fill, NoisyLinear, as_fill, blurred
from seewhy.model.tape.passes import counted
from seewhy.trust import SRG, Case, Deletion, Maps

STEPS = 32
QUANTUS_STEPS = 48  # it wants what divides the places, and removes each channel by itself


def measure(*, quick: bool) -> Section:
    """Return seconds and ratios for ResNet-50 and for imputation, at 224 px."""
    size, batch, rounds = (96, 2, 3) if quick else (224, 2, 6)
    section = Section(
        "evaluation",
        "Insertion, deletion and imputation",
        f"ResNet-50, {batch} pictures of {size} px, random maps, {STEPS} steps on patches of 8 px. "
        "*srg* measures insertion and deletion together, the score of the pictures included; "
        "*forwards* are as many plain forwards as it needs, 16 rows at a time. *quantus* is "
        "Quantus 0.6.0 PixelFlipping, which removes pixels of single channels, one order; "
        f"*deletion* is the same number of steps of one order, {QUANTUS_STEPS}. *sparse* assembles "
        "the system of ROAD without a loop over pixels and solves it by scipy; *grad-cam* is "
        "grad-cam 1.5.7's copy of ROAD's own. Errors are root mean squares over what was removed, "
        "as shares of the picture's standard deviation, against the exact solution.",
    )
    _removal(section, size, batch, rounds)
    _imputation(section, size, rounds)
    return section


def _removal(section: Section, size: int, batch: int, rounds: int) -> None:
    torch.manual_seed(0)
    module = resnet50(weights=None).eval()
    model, pictures = sw.Model(module, name="resnet50"), torch.randn(batch, 3, size, size)
    relevance = torch.randn(batch, 1, size, size)
    for fill in ("blur", "noisy-linear"):
        srg = _measured(model, pictures, relevance, SRG(steps=STEPS, fill=fill))
        with counted() as passes:
            srg()
        sides = {"forwards": _forwards(module, pictures, passes.forwards), "srg": srg}
        times = interleaved(sides, rounds)
        what = f"insertion and deletion, {fill}, {passes.forwards} forwards"
        ratio_rows(section, times, what, list(sides))
        section.at_most(
            what,
            times.ratio("srg", "forwards"),
            1.15,
            "x forwards",
            times.spread("srg", "forwards"),
        )
    sides = {
        "quantus": _quantus(module, pictures, relevance),
        "deletion": _measured(
            model, pictures, relevance, Deletion(steps=QUANTUS_STEPS, fill="constant:0")
        ),
    }
    times = interleaved(sides, rounds)
    ratio_rows(section, times, "deletion", list(sides))
    section.at_least(
        "deletion against quantus, equal steps",
        times.ratio("quantus", "deletion"),
        10,
        "x faster",
        times.spread("quantus", "deletion"),
    )


def _imputation(section: Section, size: int, rounds: int) -> None:
    torch.manual_seed(0)
    picture = 5 * blurred(torch.randn(1, 3, size, size), 0.03) + 0.3 * torch.randn(1, 3, size, size)
    clouds = blurred(torch.randn(1, 1, size, size), 0.05)[0]
    patches = (torch.rand(1, -(-size // 8), -(-size // 8)) < 0.1).repeat_interleave(8, 1)
    masks = {
        "scattered": (torch.rand(1, size, size) < 0.1, 0.05),
        "blobs": (clouds > clouds.flatten().quantile(0.9), 0.15),
        "patches": (patches.repeat_interleave(8, 2)[:, :size, :size], 0.15),
    }
    fill: Fill = as_fill("noisy-linear")
    for name, (keep, bar) in masks.items():
        sides: dict[str, Work] = {
            "sparse": lambda keep=keep: sparse(picture[0], keep[0]),
            "seewhy": lambda keep=keep: fill(picture, keep),
            "grad-cam": lambda keep=keep: NoisyLinearImputer()(picture[0], keep[0].float()),
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            times = interleaved(sides, rounds)
        what = f"imputation, 90 % removed, {name}"
        ratio_rows(section, times, what, list(sides))
        section.at_least(
            what, times.ratio("sparse", "seewhy"), 5, "x faster", times.spread("sparse", "seewhy")
        )
        gap = (NoisyLinear(0.0)(picture, keep)[0] - sparse(picture[0], keep[0]))[:, ~keep[0]]
        error = float(gap.square().mean().sqrt() / picture.std())
        section.at_most(f"{what}, error", error, bar, "of the std")


def sparse(picture: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    """Return a picture (C, H, W) filled by the exact solution of ROAD's linear system."""
    channels, height, width = picture.shape
    number = np.arange(height * width).reshape(height, width)
    rows, columns, weights = [], [], []
    for down, across in ((v, u) for v in (-1, 0, 1) for u in (-1, 0, 1) if u or v):
        top, left = max(0, -down), max(0, -across)
        bottom, right = height - max(0, down), width - max(0, across)
        own = number[top:bottom, left:right]
        rows.append(own.ravel())
        columns.append((own + down * width + across).ravel())
        weights.append(np.full(own.size, 1 / 12 if down and across else 1 / 6))
    row, column, weight = (np.concatenate(each) for each in (rows, columns, weights))
    weight = weight / np.bincount(row, weight)[row]
    gone = ~keep.numpy().ravel()
    place = np.cumsum(gone) - 1
    values = picture.double().reshape(channels, -1).numpy().T.copy()
    known, unknown = gone[row] & ~gone[column], gone[row] & gone[column]
    right_side = np.zeros((int(gone.sum()), channels))
    np.add.at(right_side, place[row[known]], weight[known, None] * values[column[known]])
    entries = (np.append(-weight[unknown], np.ones(len(right_side))),)
    places = (
        np.append(place[row[unknown]], np.arange(len(right_side))),
        np.append(place[column[unknown]], np.arange(len(right_side))),
    )
    system = coo_matrix((*entries, places), (len(right_side),) * 2).tocsc()
    values[gone] = spsolve(system, right_side)
    return torch.from_numpy(values.T.reshape(channels, height, width))


def _measured(
    model: sw.Model, pictures: torch.Tensor, relevance: torch.Tensor, metric: SRG | Deletion
) -> Work:
    def work() -> object:
        case = Case.of(model, model.prepare(pictures))
        return metric.measure(case, Maps(relevance))

    return work


def _forwards(module: torch.nn.Module, pictures: torch.Tensor, count: int) -> Work:
    rows = pictures.repeat(-(-count // len(pictures)), 1, 1, 1)[:count]

    def work() -> object:
        with torch.no_grad():
            return [module(part) for part in rows.split(16)]

    return work


def _quantus(module: torch.nn.Module, pictures: torch.Tensor, relevance: torch.Tensor) -> Work:
    count = pictures[0].numel()
    metric = quantus.PixelFlipping(
        features_in_step=count // QUANTUS_STEPS,
        perturb_baseline=0.0,
        disable_warnings=True,
    )
    with torch.no_grad():
        classes = module(pictures).argmax(1).numpy()

    def work() -> object:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return metric(
                model=module,
                x_batch=pictures.numpy(),
                y_batch=classes,
                a_batch=relevance.numpy(),
                device="cpu",
                softmax=True,
            )

    return work
