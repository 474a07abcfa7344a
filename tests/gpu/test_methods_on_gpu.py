"""What holds on a CPU holds on a GPU: the promises of every method, and the same maps."""

import pytest
import torch
from cheap import CHEAP

import seewhy as sw
from seewhy.errors import SeewhyError
from seewhy.methods import methods
from seewhy.testing import KINDS, check_method

if not torch.cuda.is_available():
    pytest.skip("there is no GPU", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore::seewhy.errors.SeewhyWarning")
KINDS_HERE = ("plain", "residual", "tokens", "two-inputs", "volume", "writing", "segmentation")


@pytest.fixture(autouse=True)
def _exact(monkeypatch):
    """Convolutions in float32 itself, not in TF32, and the same to the bit when they run again."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)


def explained(method, name, **options):
    kind = KINDS[name]
    model, pictures, others = kind.model(), kind.pictures(), kind.more()
    return sw.explain(model, pictures, kind.target, method, others=others, **options)


@pytest.mark.parametrize("name", KINDS_HERE)
@pytest.mark.parametrize("method", [CHEAP.get(each, each) for each in methods()])
def test_a_map_is_that_of_the_cpu(method, name):
    try:
        wanted = explained(method, name)
    except SeewhyError as error:
        with pytest.raises(type(error)):
            explained(method, name, device="cuda")
        return
    for one, two in zip(wanted, explained(method, name, device="cuda"), strict=True):
        gap = (one.relevance - two.relevance.cpu()).abs().max()
        assert gap <= 1e-3 * one.relevance.abs().max()


@pytest.mark.parametrize("kind", KINDS_HERE)
@pytest.mark.parametrize("method", [CHEAP.get(each, each) for each in methods()])
def test_every_promise_is_kept(method, kind):
    check_method(method, [kind], device="cuda")
