"""Names of classes are unique, and a name leads to its class or to near names."""

import json

import pytest
import timm.data
import torchvision
from hypothesis import given
from hypothesis import strategies as st

from seewhy.errors import ModelError, TargetError
from seewhy.model.labels import Labels

IMAGENET = list(torchvision.models.ResNet18_Weights.DEFAULT.meta["categories"])
IMAGENET[134] = IMAGENET[517] = "crane"  # as most lists have it
IMAGENET[638] = IMAGENET[639] = "maillot"


@given(st.lists(st.sampled_from(["a", "b", "a (0)", "a (1)", "a (1) (1)", "b (2)"])))
def test_no_two_labels_are_equal_and_every_label_leads_to_its_own_number(names):
    labels = Labels(names)
    assert [labels.number(name) for name in labels] == list(range(len(names)))


def test_the_twins_of_imagenet_get_their_wordnet_ids():
    labels = Labels(IMAGENET)
    assert (labels[134], labels[517]) == ("crane (n02012849)", "crane (n03126707)")
    assert (labels[638], labels[639]) == ("maillot (n03710637)", "maillot (n03710721)")
    assert len(set(labels)) == 1000


def test_the_ids_of_the_twins_are_those_that_timm_has():
    info = timm.data.ImageNetInfo()
    for number in (134, 517, 638, 639):
        assert info.index_to_label_name(number) in Labels(IMAGENET)[number]


def test_twins_outside_imagenet_get_their_class_numbers():
    assert list(Labels(["cat", "dog", "cat"])) == ["cat (0)", "dog", "cat (2)"]


def test_a_class_is_found_by_its_id_and_whatever_its_capitals():
    labels = Labels(["Cat", "dog"], ids=["n1", "n2"])
    assert labels.number("n2") == 1
    assert labels.number("cAT") == 0
    assert Labels(IMAGENET).number("n03126707") == 517


def test_names_that_differ_in_capitals_only_are_told_apart():
    labels = Labels(["Polish", "polish"])
    assert [labels.number("Polish"), labels.number("polish")] == [0, 1]
    with pytest.raises(TargetError, match="'POLISH' is one of 'Polish', 'polish': say which"):
        labels.number("POLISH")


def test_a_name_shared_by_several_classes_lists_them():
    with pytest.raises(TargetError, match=r"one of 'crane \(n02012849\)', 'crane \(n03126707\)'"):
        Labels(IMAGENET).number("crane")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tabbi", "did you mean 'tabby'"),
        ("tiger shark cat", "'tiger shark'"),
        ("retriever", "'golden retriever'"),
        ("xyzzyx", r"the classes are 'tench', 'goldfish', ... \(1000\)"),
    ],
)
def test_an_unknown_name_leads_to_near_ones(name, said):
    with pytest.raises(TargetError, match=f"there is no class '{name}': .*{said}"):
        Labels(IMAGENET).number(name)


def test_few_classes_are_all_listed():
    with pytest.raises(TargetError, match="the classes are disk, square"):
        Labels(["disk", "square"]).number("zebra")


FORMS = {
    "lines": "cat\ndog\n\nbird\n",
    "windows lines": "cat\r\ndog\r\nbird",
    "a list": json.dumps(["cat", "dog", "bird"]),
    "an object": json.dumps({"2": "bird", "0": "cat", "1": "dog"}),
    "an object of many": json.dumps({"0": "cat", "1": "dog", "2": "bird"}),
    "ids and names": json.dumps({"0": ["n0", "cat"], "1": ["n1", "dog"], "2": ["n2", "bird"]}),
}


@pytest.mark.parametrize("form", FORMS)
def test_labels_are_read_from_every_form(form, tmp_path):
    path = tmp_path / "labels"
    path.write_bytes(FORMS[form].encode())
    labels = Labels.read(path)
    assert list(labels) == ["cat", "dog", "bird"]
    if form == "ids and names":
        assert labels.number("n2") == 2


def test_numbers_in_an_object_are_ordered_as_numbers(tmp_path):
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({str(i): f"class {i}" for i in sorted(range(12), key=str)}))
    assert list(Labels.read(path)) == [f"class {i}" for i in range(12)]


@pytest.mark.parametrize(
    "text",
    [
        '{"cat": 0, "dog": 1}',
        '["cat", ',
        '{"1": "cat", "2": "dog"}',
        '["cat", 3]',
        '[["a", "b", 3]]',
    ],
    ids=["the wrong way round", "cut", "from one", "a number", "triples"],
)
def test_labels_that_cannot_be_read_name_the_file(text, tmp_path):
    path = tmp_path / "labels.json"
    path.write_text(text)
    with pytest.raises(ModelError, match=r"labels cannot be read from .*labels.json .*JSON list"):
        Labels.read(path)


def test_a_missing_file_and_one_that_is_no_text_are_named(tmp_path):
    (tmp_path / "picture.txt").write_bytes(b"\xff\xd8\xff")
    for name in ("gone.txt", "picture.txt"):
        with pytest.raises(ModelError, match=f"labels cannot be read from .*{name}"):
            Labels.read(tmp_path / name)
