"""Which topic is the camera's, and which bags a path names."""

import os
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from erf_seg_core.bags import BagReader, BagWriter
from erf_seg_core.bags.find import bag_names, find_bags
from erf_seg_core.bags.topics import choose_image_topic
from erf_seg_core.errors import ErfSegError

FRONT, REAR, TRUTH = "/front/image_raw", "/rear/image_raw", "/ground_truth/label"
PICTURE = np.zeros((8, 8, 3), np.uint8)


def write(path, images, storage="sqlite3"):
    """Images as (topic, stamp, frame_id)."""
    with BagWriter(path, storage) as bag:
        for topic, stamp_ns, frame_id in images:
            picture = PICTURE[..., 0] if topic == TRUTH else PICTURE
            bag.write_image(
                topic, stamp_ns, frame_id, picture, "mono8" if topic == TRUTH else "bgr8"
            )
    return path


def chosen(path, wanted=None, truth=TRUTH):
    with BagReader(path) as bag:
        return choose_image_topic(bag, wanted, truth)


def test_the_only_camera_is_chosen_beside_labels_and_depth(tmp_path):
    path = write(tmp_path / "b", [(t, 1, "f") for t in (FRONT, TRUTH, "/front/depth")])
    assert chosen(path) == FRONT
    assert chosen(path, "/front/depth") == "/front/depth"


def test_several_cameras_are_listed(tmp_path):
    path = write(tmp_path / "b", [(FRONT, 1, "front"), (REAR, 1, "rear")])
    with pytest.raises(ErfSegError, match=f"choose one: {FRONT}, {REAR}"):
        chosen(path)
    assert chosen(path, REAR) == REAR


@pytest.mark.parametrize(
    ("truth", "expected"),
    [((1, "rear"), REAR), ((2, ""), FRONT), ((2, "elsewhere"), FRONT)],
    ids=["by frame_id", "by stamp alone", "frame of another name"],
)
def test_of_several_cameras_the_one_with_truth(tmp_path, truth, expected):
    images = [(FRONT, 1, "front"), (REAR, 1, "rear"), (FRONT, 2, "front"), (TRUTH, *truth)]
    assert chosen(write(tmp_path / "b", images)) == expected


def test_truth_that_fits_both_cameras_chooses_none(tmp_path):
    images = [(FRONT, 1, "front"), (REAR, 1, "rear"), (TRUTH, 1, "")]
    with pytest.raises(ErfSegError, match="several image topics"):
        chosen(write(tmp_path / "b", images))


@pytest.fixture
def drives(tmp_path):
    folder = tmp_path / "drives"
    (folder / "night").mkdir(parents=True)
    for name in ("b", "a", "night/a"):
        write(folder / name, [(FRONT, 1, "f")])
    write(tmp_path / "loose", [(FRONT, 1, "f")], "mcap")
    (tmp_path / "loose" / "loose.mcap").rename(folder / "night" / "single.mcap")
    return folder


def test_folders_and_patterns_name_all_their_bags(drives):
    expected = ["a", "b", "night/single.mcap", "night/a"]
    assert [str(p.relative_to(drives)) for p in find_bags([drives])] == expected
    assert find_bags([f"{drives}/[ab]"]) == [drives / "a", drives / "b"]
    assert find_bags([drives / "b", drives]) == [drives / "b", *find_bags([drives])[:1],
                                                 *find_bags([drives])[2:]]  # fmt: skip


def test_results_among_the_bags_are_no_bags_unless_named(drives):
    results = drives / "night"
    assert find_bags([drives], exclude=results) == [drives / "a", drives / "b"]
    assert find_bags([f"{drives}/*"], exclude=results) == [drives / "a", drives / "b"]
    assert find_bags([results / "a"], exclude=results) == [results / "a"]
    with pytest.raises(ErfSegError, match="no bag"):
        find_bags([f"{drives}/n*"], exclude=results)


def test_parts_of_a_split_bag_without_metadata_are_one(tmp_path):
    parts = tmp_path / "split"
    parts.mkdir()
    for number in range(2):
        write(tmp_path / f"split_{number}", [(FRONT, number, "f")], "mcap")
        (tmp_path / f"split_{number}" / f"split_{number}.mcap").rename(parts / f"s_{number}.mcap")
    assert find_bags([parts]) == [parts]


@pytest.mark.parametrize("name", ["nothing_here", "nothing_*"])
def test_what_is_not_there_is_named(tmp_path, name):
    with pytest.raises(ErfSegError, match=name.replace("*", r"\*")):
        find_bags([tmp_path / name])


def test_folder_without_bags(tmp_path):
    with pytest.raises(ErfSegError, match="holds no bags"):
        find_bags([tmp_path])


def test_links_that_lead_back_up_do_not_lead_round_in_circles(drives):
    for name in ("up", "up_again"):
        (drives / "night" / name).symlink_to(drives)
    assert [p.name for p in find_bags([drives])] == ["a", "b", "single.mcap", "a"]
    assert set(find_bags([drives / "**"])) == set(find_bags([drives]))


@pytest.mark.parametrize("pattern", ["*", "**"])
def test_patterns_do_not_mean_what_is_hidden(drives, pattern):
    bags = set(find_bags([drives]))
    (drives / ".cache").mkdir()
    (drives / ".notes").touch()
    assert set(find_bags([drives / pattern])) == bags


def test_a_folder_that_may_not_be_entered_is_left_out_and_named(drives, monkeypatch):
    (drives / "night").chmod(0)
    monkeypatch.chdir(drives)  # what is above belongs to us alone
    drives.chmod(0o755)
    skipped = []
    with ordinary_user():
        found = find_bags(["."], on_skipped=skipped.append)
        with pytest.raises(ErfSegError, match="cannot look for the bag night/a: Permission"):
            find_bags(["night/a"])
    (drives / "night").chmod(0o755)
    assert found == [Path("a"), Path("b")]
    assert skipped == ["cannot look into night, it is left out: Permission denied"]


@contextmanager
def ordinary_user():
    """Permissions are nothing to root."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_an_empty_name_is_not_the_current_folder(drives, monkeypatch):
    monkeypatch.chdir(drives)
    with pytest.raises(ErfSegError, match="empty name"):
        find_bags([""])


def test_names_are_as_long_as_they_must(drives):
    assert bag_names(find_bags([drives])) == ["drives/a", "b", "single.mcap", "night/a"]
