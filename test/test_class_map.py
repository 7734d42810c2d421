from pathlib import Path

import numpy as np
import pytest
import yaml
from inference_helpers import images, info_for, random_network

from erf_seg_core.checkpoint import save_checkpoint
from erf_seg_core.class_map import load_class_map
from erf_seg_core.class_sets import load_class_set
from erf_seg_core.errors import ErfSegError
from erf_seg_core.inference import Segmenter, load_segmenter

CAMVID = load_class_set("camvid11")
EXAMPLES = sorted((Path(__file__).parents[1] / "config" / "class_maps").glob("*.yaml"))


@pytest.fixture
def write(tmp_path):
    def write(*classes, name="map", **more):
        path = tmp_path / "map.yaml"
        path.write_text(yaml.safe_dump({"name": name, "classes": list(classes), **more}))
        return path

    return write


def test_groups_names_and_ids(write):
    path = write(
        {"name": "ground", "from": ["road", "pavement"]},
        {"name": "car", "id": 3, "color": [1, 2, 3]},
        {"name": "up", "id": 1, "from": "sky"},
    )
    mapping = load_class_map(path, CAMVID)
    assert mapping.target.names == ("ground", "up", "unused_2", "car")
    assert mapping.target.used() == {0: "ground", 1: "up", 3: "car"}
    road, sky = CAMVID.colors[3], CAMVID.colors[0]
    assert mapping.target.colors == (road, sky, (0, 0, 0), (1, 2, 3))
    expected = np.full(256, 255, np.uint8)
    for name, number in (("road", 0), ("pavement", 0), ("sky", 1), ("car", 3)):
        expected[CAMVID.names.index(name)] = number
    np.testing.assert_array_equal(mapping.table, expected)


@pytest.mark.parametrize(
    ("classes", "reason"),
    [
        ([{"name": "a", "from": ["raod"]}], "no class 'raod'; its classes (camvid11) are sky,"),
        ([{"name": "road", "id": 255}], "'road' has id 255; ids are whole numbers from 0 to 254"),
        ([{"name": "road", "id": -1}], "id -1"),
        ([{"name": "road", "id": "7"}], "id 7"),
        ([{"name": "road", "id": True}], "id True"),
        ([{"name": "road", "id": 1}, {"name": "sky"}], "id 1 is given to road and sky"),
        ([{"name": "a", "from": ["sky"]}, {"name": "sky"}], "'sky' is listed twice"),
        ([{"name": "sky"}, {"name": "sky", "from": ["road"]}], "names a class twice"),
        ([{"name": "a", "from": []}], "empty 'from'"),
        ([{"name": "sky", "colour": [0, 0, 0]}], "no 'colour'"),
        ([{"name": "sky", "color": [0, 0, 256]}], "three whole numbers from 0 to 255"),
        ([{"from": ["sky"]}], "not a class map (KeyError('name'))"),
        (["sky"], "no '"),
        ([], "lists no class"),
    ],
)
def test_bad_maps_are_refused_with_a_reason(write, classes, reason):
    path = write(*classes)
    with pytest.raises(ErfSegError) as error:
        load_class_map(path, CAMVID)
    assert reason in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("text", ["", "3", "[1, 2]", "name: x", "classes: {a: 1}", "a: b: c", "\0"])
def test_what_is_no_map_is_refused(tmp_path, text):
    path = tmp_path / "map.yaml"
    path.write_text(text)
    with pytest.raises(ErfSegError, match="class map"):
        load_class_map(path, CAMVID)
    for unreadable in (tmp_path / "nowhere.yaml", tmp_path, "nul\0byte", "x" * 300):
        with pytest.raises(ErfSegError, match="cannot read class map"):
            load_class_map(unreadable, CAMVID)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_place_every_class(path):
    class_set = load_class_set(path.stem.split("_")[0])
    mapping = load_class_map(path, class_set)
    assert (mapping.table[: class_set.num_classes] != 255).all()
    assert {"drivable", "obstacle", "sky"} <= set(mapping.target.names)


def test_there_is_an_example_for_every_shipped_class_set():
    assert {path.stem.split("_")[0] for path in EXAMPLES} == {"camvid11", "cityscapes19"}


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_segmenter_labels_with_the_maps_classes(tmp_path, engine):
    """The network has a void output, which stays void; confidence is the winning output's."""
    net = random_network("dg4_star_light", num_outputs=20)
    path = save_checkpoint(tmp_path / "net.safetensors", net, info_for(net))
    options = {"device": "cpu", "engine": engine, "threads": 1}
    plain = load_segmenter(path, **options)
    mapped = load_segmenter(path, class_map=EXAMPLES[1], **options)
    mapping = load_class_map(EXAMPLES[1], plain.class_set)
    picture = images(1, (90, 161))[0]
    before, after = plain(picture), mapped(picture)
    assert mapped.class_set == mapping.target
    assert len(np.unique(before.labels)) > len(np.unique(after.labels)) > 2
    np.testing.assert_array_equal(after.labels, mapping.table[before.labels])
    np.testing.assert_array_equal(after.confidence, before.confidence)


def test_map_of_other_classes_is_refused():
    net = random_network("dg4_star_light", num_outputs=20)
    mapping = load_class_map(EXAMPLES[0], CAMVID)
    with pytest.raises(ErfSegError, match=r"classes of 'camvid11'.*those of 'cityscapes19'"):
        Segmenter(net, info_for(net), "cpu", class_map=mapping)
    with pytest.raises(ErfSegError, match="no class 'pavement'"):
        load_class_map(EXAMPLES[0], load_class_set("cityscapes19"))
