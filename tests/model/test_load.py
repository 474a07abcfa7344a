"""Every way to a model gives the network that was meant, or an error that says what to do."""

import importlib.util
import io
import os
import pickle
import subprocess
import sys
import urllib.error
import zipfile
from pathlib import Path

import pytest
import torch
import torchvision
import transformers
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import seewhy as sw
from seewhy.errors import (
    LayerError,
    MethodError,
    MissingDependencyError,
    ModelError,
    TargetError,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec:FutureWarning")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(4, 6, 3, padding=1, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(6, 5)

    def forward(self, x):
        x = self.relu(self.conv2(self.relu(self.conv1(x))))
        return self.fc(self.pool(x).flatten(1))


@pytest.fixture
def net():
    return Net().eval()


@pytest.fixture
def pictures():
    return torch.randn(6, 3, 16, 16)


def maps(model, pictures, method="grad-cam", layer="conv2", target=1):
    layer = None if method == "gradient" else layer
    found = sw.explain(model, pictures, target=target, method=method, layer=layer)
    return torch.stack([each.relevance for each in found])


# ---------------------------------------------------------------------- modules in memory


def test_a_module_in_memory_is_used_itself(net):
    assert sw.load(net).module is net


def test_a_model_is_returned_as_it_is(net):
    model = sw.Model(net)
    assert sw.load(model) is model


def test_preprocessing_and_labels_can_be_replaced(net, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("a\nb\nc\nd\ne\n")
    preprocess = sw.Preprocess(16)
    model = sw.load(net, preprocess=preprocess, labels=names)
    assert model.preprocess is preprocess
    assert list(model.labels) == ["a", "b", "c", "d", "e"]


def test_a_class_that_overrides_call_is_explained_like_its_forward(net, pictures):
    class Calling(Net):
        def __call__(self, x):
            return super().__call__(x)

    calling = Calling().eval()
    calling.load_state_dict(net.state_dict())
    assert torch.equal(maps(calling, pictures), maps(net, pictures))


def test_a_layer_reachable_under_two_names_is_found_by_both(net, pictures):
    net.features = nn.ModuleList([net.conv1, net.conv2]).eval()
    by_alias = maps(net, pictures, layer="features.1")
    assert torch.equal(by_alias, maps(net, pictures, layer="conv2"))
    assert torch.equal(by_alias, maps(net, pictures, layer=net.conv2))


def test_what_is_no_module_is_refused():
    with pytest.raises(ModelError, match="torch module or a function is expected, not int"):
        sw.Model(3)


def test_a_function_is_a_model_that_offers_only_its_scores():
    def bright(pictures):
        return pictures.mean((1, 2, 3)).numpy()[:, None] * [[1.0, -1.0]]

    model = sw.Model(bright, labels=["bright", "dark"])
    assert model.name == "bright"
    assert not model.offers.gradient
    assert model.predict(model.prepare(torch.ones(1, 3, 4, 4)))[0][0].label == "bright"
    with pytest.raises(sw.errors.MethodError, match="needs gradient"):
        sw.explain(model, torch.ones(1, 3, 4, 4), method="gradient")
    assert sw.explain(model, torch.rand(1, 3, 32, 32))[0].method == "occlusion"


# ---------------------------------------------------------------------- Python paths


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with a package of one's own, as the current folder."""
    package = tmp_path / "my_project_of_models"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "nets.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "import seewhy\n"
        "def build():\n"
        "    torch.manual_seed(1)\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 14 * 14, 2))\n"
        "ready = build()\n"
        "def model():\n"
        "    return seewhy.Model(ready.eval(), labels=['no', 'yes'])\n"
        "def number():\n"
        "    return 3\n"
        "class Holder:\n"
        "    inner = ready\n"
    )
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("my_project_of_models")]:
        del sys.modules[name]


def test_a_python_path_is_imported_from_the_current_folder_and_called(project):
    path = list(sys.path)
    model = sw.load("my_project_of_models.nets:build")
    assert not model.module.training
    assert model.module[0].weight.shape == (4, 3, 3, 3)
    assert sys.path == path


def test_a_python_path_may_name_a_module_or_a_model(project):
    assert isinstance(sw.load("my_project_of_models.nets:Holder.inner").module, nn.Sequential)
    assert list(sw.load("my_project_of_models.nets:model").labels) == ["no", "yes"]


def test_weights_are_loaded_into_what_a_python_path_gives(project):
    other = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 14 * 14, 2))
    save_file(other.state_dict(), project / "mine.safetensors")
    model = sw.load("my_project_of_models.nets:build@mine.safetensors")
    assert torch.equal(model.module[0].weight, other[0].weight)
    assert model.name.endswith("@mine.safetensors")


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("my_project_of_models.net:build", "cannot be imported.*my_project_of_models.net"),
        ("my_project_of_models.nets:biuld", "cannot be imported.*biuld"),
        ("my_project_of_models.nets:number", "gave int: it must give a torch module or a Model"),
    ],
)
def test_a_python_path_that_leads_nowhere_is_named(project, reference, said):
    with pytest.raises(ModelError, match=said):
        sw.load(reference)


# ---------------------------------------------------------------------- weights beside a name


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(3)
    return torchvision.models.resnet18(weights=None).eval()


WAYS_TO_SAVE = {
    "plain.safetensors": save_file,
    "plain.pth": torch.save,
    "wrapped.pth": lambda state, path: torch.save({"state_dict": state, "epoch": 3}, path),
    "model_state.pt": lambda state, path: torch.save({"model_state_dict": state}, path),
    "parallel.pth": lambda state, path: torch.save(
        {f"module.{name}": value for name, value in state.items()}, path
    ),
    "an@odd?name.pth": torch.save,
}


@pytest.mark.parametrize("name", WAYS_TO_SAVE)
def test_weights_are_loaded_into_a_named_architecture(name, resnet, tmp_path):
    WAYS_TO_SAVE[name](resnet.state_dict(), tmp_path / name)
    model = sw.load(f"torchvision/resnet18@{tmp_path / name}")
    state = model.module.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in resnet.state_dict().items())
    assert model.labels[281] == "tabby"


def test_names_that_begin_with_module_are_kept_where_the_network_has_them(tmp_path, monkeypatch):
    (tmp_path / "own_wrapper.py").write_text(
        "from torch import nn\n"
        "class Wrapper(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.module = nn.Linear(3, 2)\n"
    )
    monkeypatch.chdir(tmp_path)
    weight = torch.full((2, 3), 7.0)
    torch.save({"module.weight": weight, "module.bias": torch.zeros(2)}, "w.pth")
    assert torch.equal(sw.load("own_wrapper:Wrapper@w.pth").module.module.weight, weight)


def test_weights_are_always_mapped_to_the_cpu(resnet, tmp_path, monkeypatch):
    path = tmp_path / "gpu.pth"
    torch.save(resnet.state_dict(), path)
    asked = []
    original = torch.load

    def load(*args, **kwargs):
        asked.append((kwargs.get("map_location"), kwargs.get("weights_only")))
        return original(*args, **kwargs)

    monkeypatch.setattr(torch, "load", load)
    sw.load(f"torchvision/resnet18@{path}")
    assert asked == [("cpu", True)]


def test_weights_that_do_not_fit_are_named(net, tmp_path):
    save_file(net.state_dict(), tmp_path / "small.safetensors")
    with pytest.raises(ModelError, match=r"small.safetensors do not fit ResNet: Missing key"):
        sw.load(f"torchvision/resnet18@{tmp_path / 'small.safetensors'}")


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_weights_without_an_architecture_ask_for_one(net, tmp_path, ending):
    path = tmp_path / f"alone.{ending}"
    (save_file if ending == "safetensors" else torch.save)(net.state_dict(), path)
    with pytest.raises(
        ModelError, match=r"without an architecture: name it, torchvision/resnet50@"
    ):
        sw.load(path)


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_damaged_weights_are_named(tmp_path, ending):
    path = tmp_path / f"broken.{ending}"
    path.write_bytes(b"\x00" * 40)
    with pytest.raises(ModelError, match=f"broken.{ending}"):
        sw.load(f"torchvision/resnet18@{path}")


def test_a_file_of_something_else_holds_no_state_dict(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "log.pth")
    with pytest.raises(ModelError, match="holds no state_dict"):
        sw.load(f"torchvision/resnet18@{tmp_path / 'log.pth'}")


def test_missing_weights_are_named():
    with pytest.raises(ModelError, match=r"there is no file gone\.pth"):
        sw.load("torchvision/resnet18@gone.pth")


# ---------------------------------------------------------------------- torch.export


def exported(net, example, path, dynamic=False):
    shapes = ({0: torch.export.Dim("n")},) if dynamic else None
    torch.export.save(torch.export.export(net, (example,), dynamic_shapes=shapes), path)
    return path


SHAPES = pytest.mark.parametrize(
    ("batch", "dynamic"),
    [(2, True), (1, False), (4, False)],
    ids=["dynamic", "static 1", "static 4"],
)


@SHAPES
def test_grad_cam_of_an_exported_program_is_that_of_the_module(
    net, pictures, tmp_path, batch, dynamic
):
    model = sw.load(exported(net, pictures[:batch], tmp_path / "net.pt2", dynamic))
    torch.testing.assert_close(maps(model, pictures), maps(net, pictures))


@SHAPES
def test_an_exported_program_explains_more_pictures_than_its_batch(
    net, pictures, tmp_path, batch, dynamic
):
    model = sw.load(exported(net, pictures[:batch], tmp_path / "net.pt2", dynamic))
    assert model.offers.batch == (None if dynamic else batch)
    assert model.input_shape == (3, 16, 16)
    expected = maps(net, pictures, "gradient")
    torch.testing.assert_close(maps(model, pictures, "gradient"), expected)


def test_an_exported_program_predicts_more_pictures_than_its_batch(net, pictures, tmp_path):
    model = sw.load(exported(net, pictures[:4], tmp_path / "net.pt2"))
    best = [row[0].number for row in model.predict(model.prepare(pictures))]
    assert best == net(pictures).argmax(1).tolist()


def test_an_exported_program_keeps_its_layers_names(net, pictures, tmp_path):
    model = sw.load(exported(net, pictures[:2], tmp_path / "net.pt2", dynamic=True))
    names = [str(layer) for layer in model.layers()]
    assert names == [str(layer) for layer in sw.Model(net, input_shape=(3, 16, 16)).layers()]


def test_an_exported_program_is_known_by_its_content(net, pictures, tmp_path):
    model = sw.load(exported(net, pictures[:2], tmp_path / "net.pt2", dynamic=True))
    (tmp_path / "net.pt2").rename(tmp_path / "net.bin")
    again = sw.load(tmp_path / "net.bin")
    assert torch.equal(maps(again, pictures), maps(model, pictures))


def test_a_file_may_have_the_signs_of_a_reference_in_its_path(net, pictures, tmp_path):
    folder = tmp_path / "me@work"
    folder.mkdir()
    path = exported(net, pictures[:1], folder / "what?.pt2")
    assert sw.load(path).name == "what?.pt2"


def test_a_damaged_program_is_named(net, pictures, tmp_path):
    path = exported(net, pictures[:1], tmp_path / "net.pt2")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ModelError, match=r"net.pt2 is no readable .pt2 file"):
        sw.load(path)


def rewritten(path, change):
    """The archive with its entries changed: change(name, content) -> content."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, change(name, content))


class Evil:
    """Unpickling it writes a file: what a stranger's pickle could do."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (Path.write_text, (Path(self.mark), "ran"))


def with_pickle(path, mark):
    stream = io.BytesIO()
    torch.save((Evil(mark),), stream)
    inside = "sample_inputs/model.pt"
    rewritten(path, lambda name, old: stream.getvalue() if name.endswith(inside) else old)


def with_expression(path, mark):
    code = f"open({str(mark)!r}, mode={'w'!r}).write({'ran'!r})"
    rewritten(
        path,
        lambda name, old: (
            old.replace(b"Symbol('s77', positive=True, integer=True)", code.encode())
            if name.endswith("models/model.json")
            else old
        ),
    )


def with_operator(path, mark):
    rewritten(
        path,
        lambda name, old: (
            old.replace(b"torch.ops.aten.relu.default", b"torch.hub.load")
            if name.endswith("models/model.json")
            else old
        ),
    )


@pytest.mark.parametrize("poison", [with_pickle, with_expression, with_operator])
def test_no_code_from_an_exported_program_is_run(net, pictures, tmp_path, poison):
    mark = tmp_path / "mark"
    path = exported(net, pictures[:2], tmp_path / "net.pt2", dynamic=True)
    before = path.read_bytes()
    poison(path, mark)
    assert path.read_bytes() != before
    with pytest.raises(ModelError, match=r"net.pt2 holds more than tensors.*allow_pickle=True"):
        sw.load(path)
    assert not mark.exists()


# ---------------------------------------------------------------------- TorchScript


@pytest.fixture
def scripted(net, pictures, tmp_path):
    path = tmp_path / "net.pt"
    torch.jit.save(torch.jit.trace(net, pictures[:1]), path)
    return path


scripting = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


@scripting
def test_gradients_of_torchscript_are_those_of_the_module(net, pictures, scripted):
    model = sw.load(scripted)
    expected = maps(net, pictures, "gradient")
    torch.testing.assert_close(maps(model, pictures, "gradient"), expected)


@scripting
def test_a_method_that_needs_layers_says_that_torchscript_has_none(pictures, scripted):
    model = sw.load(scripted)
    with pytest.raises(MethodError, match=r"grad-cam needs layers .* which net.pt does not offer"):
        sw.explain(model, pictures, method="grad-cam")
    with pytest.raises(LayerError, match="TorchScript takes no hooks"):
        model.layer("conv2")


@scripting
def test_without_a_method_torchscript_is_explained_by_one_without_layers(net, pictures, scripted):
    found = sw.explain(sw.load(scripted), pictures[:1])[0]
    assert found.method == "integrated-gradients"


# ---------------------------------------------------------------------- pickles


def test_no_code_from_a_pickle_is_run_unless_it_is_allowed(tmp_path):
    mark = tmp_path / "mark"
    path = tmp_path / "evil.pt"
    torch.save({"state_dict": Evil(mark)}, path)
    with pytest.raises(ModelError, match=r"evil.pt.*allow_pickle=True"):
        sw.load(path)
    plain = tmp_path / "plain.pkl"
    plain.write_bytes(pickle.dumps(Evil(mark)))
    for reference in (plain, f"torchvision/resnet18@{plain}", f"torchvision/resnet18@{path}"):
        with pytest.raises(ModelError, match="does not hold plain tensors"):
            sw.load(reference)
    assert not mark.exists()


def test_a_pickled_module_is_read_where_that_is_allowed(net, pictures, tmp_path):
    path = tmp_path / "whole.pt"
    torch.save(net, path)
    with pytest.raises(ModelError, match=r"whole.pt.*allow_pickle=True.*--allow-pickle"):
        sw.load(path)
    model = sw.load(path, allow_pickle=True)
    assert torch.equal(maps(model, pictures), maps(net, pictures))


def test_a_file_that_is_nothing_is_named(tmp_path):
    path = tmp_path / "note.pt"
    path.write_text("a note")
    with pytest.raises(ModelError, match=r"note\.pt cannot be read"):
        sw.load(path, allow_pickle=True)


# ---------------------------------------------------------------------- libraries


def test_a_torchvision_name_gives_the_untrained_network_with_what_belongs_to_it():
    model = sw.load("torchvision/resnet18?weights=none")
    assert isinstance(model.module, torchvision.models.ResNet)
    assert not model.module.training
    assert model.input_shape == (3, 224, 224)
    assert model.labels[0] == "tench"
    assert model.preprocess.resize_size == [256]


def test_a_timm_name_gives_the_untrained_network_with_what_belongs_to_it():
    model = sw.load("timm/resnet10t?weights=none")
    assert type(model.module).__module__ == "timm.models.resnet"
    assert model.input_shape == (3, 176, 176)
    assert (model.labels[0], model.labels[281]) == ("tench", "tabby")
    assert len(set(model.labels)) == 1000


def test_a_segmentation_network_is_built_without_fetching_its_backbone(monkeypatch):
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", unreachable)
    model = sw.load("torchvision/lraspp_mobilenet_v3_large?weights=none")
    assert model.labels[0] == "__background__"


_TINY_VIT = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 32,
    "patch_size": 8,
}
_TINY_RESNET = {"embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 1]}
NAMES = {0: "cat", 1: "dog", 2: "bird"}


def saved(kind, settings, folder):
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(
        **settings, id2label=NAMES, label2id={name: number for number, name in NAMES.items()}
    )
    module = getattr(transformers, f"{kind}ForImageClassification")(config).eval()
    module.save_pretrained(folder)
    size = {"height": 32, "width": 32}
    transformers.ViTImageProcessor(
        size=size, image_mean=[0.5] * 3, image_std=[0.5] * 3
    ).save_pretrained(folder)
    return module


@pytest.mark.parametrize(
    ("kind", "settings"), [("ViT", _TINY_VIT), ("ResNet", _TINY_RESNET)], ids=["ViT", "ResNet"]
)
def test_a_transformers_folder_brings_weights_labels_and_preprocessing(kind, settings, tmp_path):
    module = saved(kind, settings, tmp_path)
    model = sw.load(f"hf/{tmp_path}")
    assert list(model.labels) == ["cat", "dog", "bird"]
    from PIL import Image

    prepared = model.prepare(Image.new("RGB", (50, 40), "white"))
    torch.testing.assert_close(prepared.tensor, torch.ones(1, 3, 32, 32))
    expected = module(prepared.tensor).logits.softmax(1).max()
    found = model.predict(prepared)[0][0]
    assert found.probability == pytest.approx(expected.item(), rel=1e-5)
    why = sw.explain(model, Image.effect_noise((50, 40), 90), target="bird")
    assert why.target == "bird"
    assert why.method == "grad-cam"


def test_an_untrained_transformers_network_differs_from_the_saved_one(tmp_path):
    module = saved("ViT", _TINY_VIT, tmp_path)
    model = sw.load(f"hf/{tmp_path}?weights=none")
    assert type(model.module) is type(module)
    weights = model.module.state_dict()["classifier.weight"]
    assert not torch.equal(weights, module.classifier.weight)


def test_outputs_that_are_dataclasses_or_tuples_are_explained_alike():
    torch.manual_seed(0)
    config = transformers.ResNetConfig(**_TINY_RESNET, num_labels=3)
    module = transformers.ResNetForImageClassification(config).eval()
    pictures = torch.randn(2, 3, 32, 32)

    class Logits(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = module

        def forward(self, x):
            return self.inner(x).logits

    expected = maps(Logits().eval(), pictures, "gradient")
    for as_tuple in (False, True):
        config.return_dict = not as_tuple
        assert isinstance(module(pictures), tuple) is as_tuple
        torch.testing.assert_close(maps(module, pictures, "gradient"), expected)


# ---------------------------------------------------------------------- what cannot be had


def unreachable(*args, **kwargs):
    raise urllib.error.URLError("no route to host")


def test_torchvision_weights_that_cannot_be_fetched_name_the_way_around(monkeypatch):
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", unreachable)
    with pytest.raises(ModelError, match=r"torchvision/resnet18 cannot be fetched.*@FILE"):
        sw.load("torchvision/resnet18")


def test_timm_weights_that_cannot_be_fetched_name_the_way_around(monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"timm/resnet10t cannot be fetched.*timm/resnet10t@FILE"):
        sw.load("timm/resnet10t")


def test_a_repository_that_cannot_be_fetched_names_the_way_around(monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"nobody/nothing cannot be fetched.*a local folder, hf/"):
        sw.load("hf/nobody/nothing")


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("torchvision/resnet19", "did you mean resnet18"),
        ("timm/vit_tiny_patch16_22", "did you mean vit_tiny_patch16_224"),
        ("timn/resnet18", "did you mean 'timm'"),
        ("no_such_file.pt2", "there is no file no_such_file.pt2.*model.pt2"),
        ("torchvision/resnet18?mean=red", "after '\\?' comes weights=none"),
        ("torchvision/resnet18?std=0", "after '\\?' comes weights=none"),
        ("torchvision/resnet18?weight=none", "after '\\?' comes weights=none"),
        ("torchvision/resnet18?weights=some", "after '\\?' comes weights=none"),
    ],
)
def test_an_unknown_name_leads_to_near_ones(reference, said):
    with pytest.raises(ModelError, match=said):
        sw.load(reference)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(ModelError, match=f"is a folder: give a file, or hf/{tmp_path}"):
        sw.load(tmp_path)


@pytest.mark.parametrize("source", ["torchvision", "timm", "transformers"])
def test_a_missing_library_is_answered_with_the_command_that_adds_it(source, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == source else found(name, *a)
    )
    extra = "hf" if source == "transformers" else source
    with pytest.raises(MissingDependencyError, match=rf"pip install 'seewhy\[{extra}\]'"):
        sw.load(f"{extra}/resnet18")


def test_a_library_that_cannot_be_imported_is_told_from_a_missing_one(tmp_path):
    """As torchvision's wheel behaves beside a torch that it was not built for."""
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    code = (
        "import seewhy\n"
        "try: seewhy.load('torchvision/resnet18')\n"
        "except Exception as error: print(repr(error))"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith("ModelError(")
    assert "torchvision::nms does not exist" in ran.stdout
    assert f"belongs to torch {torch.__version__}" in ran.stdout


# ---------------------------------------------------------------------- embedders


def test_an_embedder_gives_what_the_head_receives(net, pictures):
    received = []
    handle = net.fc.register_forward_pre_hook(lambda module, given: received.append(given[0]))
    logits = net(pictures)
    handle.remove()
    model = sw.embedder(sw.Model(net, input_shape=(3, 16, 16)))
    (embedding,) = model.module(pictures)
    assert torch.equal(embedding, received[0])
    assert torch.equal(net(pictures), logits)
    assert not net.fc._forward_pre_hooks


def test_an_embedder_keeps_the_layers_names(net):
    whole = sw.Model(net, input_shape=(3, 16, 16))
    cut = sw.embedder(whole)
    assert cut.layer("conv2").name == "conv2"
    assert [str(each) for each in cut.layers()] == [str(each) for each in whole.layers()]


def test_the_default_layer_of_an_embedder_is_that_of_the_classifier(net):
    whole = sw.Model(net, input_shape=(3, 16, 16))
    assert str(sw.embedder(whole).layer()) == str(whole.layer())


@pytest.mark.parametrize("sign", [1, -1])
def test_grad_cam_of_an_embedder_is_that_of_the_cosine(net, pictures, sign):
    """Against Grad-CAM computed by hand on the network's body."""
    model = sw.embedder(sw.Model(net, input_shape=(3, 16, 16)))
    reference = torch.randn(6)
    kind = sw.targets.Similarity if sign > 0 else sw.targets.Difference
    found = maps(model, pictures, target=kind(reference))

    activations = net.conv2(net.relu(net.conv1(pictures))).detach().requires_grad_()
    embedding = net.pool(net.relu(activations)).flatten(1)
    score = sign * torch.cosine_similarity(embedding, reference[None]).sum()
    (gradients,) = torch.autograd.grad(score, activations)
    expected = (gradients.mean((2, 3), keepdim=True) * activations).sum(1, keepdim=True)
    torch.testing.assert_close(found, expected.detach())


def test_an_embedder_has_no_classes_to_explain(net, pictures):
    model = sw.embedder(sw.Model(net, input_shape=(3, 16, 16)))
    with pytest.raises(TargetError, match=r"no class scores.*Similarity.of"):
        sw.explain(model, pictures)
    with pytest.raises(ModelError, match="no class scores to predict with"):
        model.predict(model.prepare(pictures))


def test_similarity_of_a_picture_with_itself_is_one(net, pictures):
    model = sw.embedder(sw.Model(net, input_shape=(3, 16, 16)))
    target = sw.targets.Similarity.of(model, pictures[2:3])
    scores = [each.score for each in sw.explain(model, pictures, target, "gradient")]
    assert scores[2] == pytest.approx(1, abs=1e-6)
    assert max(scores) == scores[2]


def test_a_network_without_one_head_has_no_embedder():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = nn.Linear(12, 3), nn.Linear(12, 3)

        def forward(self, x):
            return self.left(x.flatten(1)) + self.right(x.flatten(1))

    with pytest.raises(ModelError, match="no single head to cut off"):
        sw.embedder(sw.Model(Two().eval(), input_shape=(3, 2, 2)))


def test_how_pictures_become_input_can_stand_in_the_reference(tmp_path):
    torch.save(nn.Flatten(), tmp_path / "net.pt")
    white = Image.new("RGB", (20, 30), "white")

    def prepared(query):
        found = sw.load(f"{tmp_path / 'net.pt'}?{query}", allow_pickle=True)
        return found.prepare(white).tensor[0]

    assert prepared("size=6,4&mean=0.5&std=0.25").shape == (3, 6, 4)
    assert prepared("size=6&mean=0.5&std=0.25").unique().tolist() == [2.0]
    assert prepared("size=6&std=1/255").mean() == pytest.approx(255)
    each = prepared("size=6&mean=0,0.5,1&std=1&bgr=true")[:, 0, 0]
    assert each.tolist() == [1.0, 0.5, 0.0]
    with pytest.raises(ModelError, match="add size=224"):
        prepared("mean=0.5")
