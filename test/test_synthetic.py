"""The synthetic drive: repeatable, and its labels, depth and poses agree with each other."""

import numpy as np
import pytest

from erf_seg_core.class_sets import load_class_set
from erf_seg_core.errors import ErfSegError
from erf_seg_core.synthetic import SyntheticDrive
from erf_seg_core.synthetic.labels import BUILDING, PAVEMENT, POLE, ROAD, SKY, VOID
from erf_seg_core.synthetic.style import WEATHERS

SIZE = (180, 240)


def rays(camera):
    """Directions (H×W×3, z = 1) of all pixels in the optical frame."""
    x = (np.arange(camera.width) - camera.cx) / camera.fx
    y = (np.arange(camera.height) - camera.cy) / camera.fy
    return np.stack([*np.meshgrid(x, y), np.ones((camera.height, camera.width))], axis=-1)


def world_points(frame):
    """World position (H×W×3) of every pixel."""
    pose = frame.camera_to_world
    with np.errstate(invalid="ignore"):  # the sky's infinite depth
        points = rays(frame.camera) * frame.depth_m[..., None]
        return points @ pose[:3, :3].T + pose[:3, 3]


def project(points, frame):
    """Pixel positions (N×2) and depths (N) of world points."""
    pose = frame.camera_to_world
    local = (points - pose[:3, 3]) @ pose[:3, :3]
    camera = frame.camera
    pixels = local[:, :2] / local[:, 2:] * (camera.fx, camera.fy) + (camera.cx, camera.cy)
    return pixels, local[:, 2]


@pytest.fixture(scope="module")
def drive():
    return SyntheticDrive(seed=4, size=SIZE)


def test_shapes_and_types(drive):
    frame = drive.frame(0)
    assert frame.image_bgr.shape == (*SIZE, 3)
    assert frame.image_bgr.dtype == np.uint8
    assert (frame.labels.shape, frame.labels.dtype) == (SIZE, np.uint8)
    assert (frame.depth_m.shape, frame.depth_m.dtype) == (SIZE, np.float32)
    assert (frame.camera.height, frame.camera.width) == SIZE


def test_a_frame_does_not_depend_on_those_before():
    forwards, backwards = SyntheticDrive(9, SIZE), SyntheticDrive(9, SIZE)
    there = [forwards.frame(i) for i in (0, 1, 40, 700)]
    back = [backwards.frame(i) for i in (700, 40, 1, 0)][::-1]
    for a, b in zip(there, back, strict=True):
        assert np.array_equal(a.image_bgr, b.image_bgr)
        assert np.array_equal(a.labels, b.labels)
        assert np.array_equal(a.depth_m, b.depth_m)
        assert np.array_equal(a.camera_to_world, b.camera_to_world)


def test_seeds_give_different_drives():
    frames = [SyntheticDrive(seed, SIZE).frame(10) for seed in range(6)]
    for i, a in enumerate(frames):
        for b in frames[:i]:
            assert (a.labels != b.labels).mean() > 0.05
            assert np.abs(a.image_bgr.astype(int) - b.image_bgr).mean() > 8


def test_consecutive_frames_move(drive):
    a, b = drive.frame(30), drive.frame(31)
    step = np.linalg.norm(b.camera_to_world[:3, 3] - a.camera_to_world[:3, 3])
    assert 0.1 < step < 1.5
    assert (a.image_bgr != b.image_bgr).any()


def test_every_class_occurs_and_nothing_else():
    counts = np.zeros(256, int)
    for seed in range(4):
        drive = SyntheticDrive(seed, SIZE)
        for index in range(0, 400, 40):
            counts += np.bincount(drive.frame(index).labels.ravel(), minlength=256)
    classes = load_class_set("camvid11").num_classes
    assert (counts[:classes] > 0).all()
    assert counts[classes:VOID].sum() == 0
    assert counts[VOID] < 0.05 * counts.sum()
    # what a street is mostly made of
    assert counts[[SKY, BUILDING, ROAD]].sum() > 0.5 * counts.sum()


def test_sky_is_where_depth_is_infinite():
    for seed in range(4):
        frame = SyntheticDrive(seed, SIZE).frame(25)
        assert np.array_equal(frame.labels == SKY, np.isinf(frame.depth_m))
        assert (frame.depth_m > 0).all()


@pytest.mark.parametrize("seed", [2, 14, 16, 22])
def test_no_sky_below_the_horizon(seed):
    drive = SyntheticDrive(seed, SIZE)
    for index in (0, 200, 500):
        frame = drive.frame(index)
        climb = (rays(frame.camera) @ frame.camera_to_world[:3, :3].T)[..., 2]
        assert not (frame.labels[climb < -0.02] == SKY).any()


@pytest.mark.parametrize("seed", range(4))
def test_road_depth_is_that_of_the_ground_plane(seed):
    """Depth from pose and intrinsics alone: where each pixel's ray meets z = 0."""
    frame = SyntheticDrive(seed, SIZE).frame(12)
    rotation, position = frame.camera_to_world[:3, :3], frame.camera_to_world[:3, 3]
    downwards = (rays(frame.camera) @ rotation.T)[..., 2]
    road = frame.labels == ROAD
    assert road.mean() > 0.05
    expected = -position[2] / downwards[road]
    assert np.allclose(frame.depth_m[road], expected, rtol=2e-3)


def test_pavement_lies_a_kerb_above_the_road(drive):
    frame = drive.frame(5)
    near = (frame.labels == PAVEMENT) & (frame.depth_m < 15)
    heights = world_points(frame)[near][:, 2]
    assert near.sum() > 50
    # outlines are drawn half a pixel wide, so the kerb's foot may reach a little below the road
    assert heights.min() > -15 / frame.camera.fy
    assert np.median(heights) == pytest.approx(0.12, abs=0.01)


def test_static_points_stay_where_they_are_in_the_world():
    """Facade pixels, carried by depth and poses, meet the same surface in a later frame."""
    drive = SyntheticDrive(2, SIZE)
    a, b = drive.frame(20), drive.frame(22)
    pick = (a.labels == BUILDING) & (a.depth_m < 60)
    # away from outlines, where half a pixel decides which surface is met
    depth = np.where(np.isinf(a.depth_m), 1e4, a.depth_m)
    steep = np.abs(np.gradient(depth)).max(axis=0) > 0.02 * depth
    points = world_points(a)[pick & ~steep]
    assert len(points) > 500
    pixels, z = project(points, b)
    nearest = pixels.round().astype(int)
    height, width = SIZE
    inside = (nearest >= 0).all(axis=1) & (nearest < (width, height)).all(axis=1)
    x, y = nearest[inside].T
    still = b.labels[y, x] == BUILDING  # the others are hidden by now, behind posts and cars
    agree = np.abs(b.depth_m[y, x] - z[inside]) < 0.03 * z[inside]
    assert still.mean() > 0.85
    assert agree[still].mean() > 0.97


def test_posts_stand_on_the_pavement():
    frame = SyntheticDrive(11, SIZE).frame(30)
    poles = (frame.labels == POLE) & (frame.depth_m < 60)
    heights = world_points(frame)[poles][:, 2]
    assert poles.sum() > 30
    assert heights.min() > -0.2
    assert heights.max() < 12


@pytest.mark.parametrize("weather", WEATHERS)
def test_weather_can_be_chosen(weather):
    drive = SyntheticDrive(3, SIZE, weather=weather)
    assert drive.weather.name == weather
    image = drive.frame(0).image_bgr
    assert 25 < image.mean() < 215
    assert image.std() > 15


def test_weather_changes_the_picture_not_the_truth():
    clear = SyntheticDrive(3, SIZE, weather="clear").frame(8)
    fog = SyntheticDrive(3, SIZE, weather="fog").frame(8)
    same = clear.labels == fog.labels
    assert same.mean() > 0.99  # lamps of the street light up, nothing else
    far = (clear.depth_m > 60) & (clear.labels == BUILDING)
    assert fog.image_bgr[far].std() < clear.image_bgr[far].std()


def test_another_rate_passes_the_same_places():
    slow, quick = SyntheticDrive(6, SIZE, rate_hz=10), SyntheticDrive(6, SIZE, rate_hz=30)
    a, b = slow.frame(10).camera_to_world, quick.frame(30).camera_to_world
    assert np.allclose(a, b)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"size": (0, 480)}, "480×0"),
        ({"size": (360, 100000)}, "100000"),
        ({"seed": -1}, "seed"),
        ({"rate_hz": 0}, "rate"),
        ({"weather": "hail"}, "clear"),
    ],
)
def test_impossible_drives_are_refused(arguments, reason):
    with pytest.raises(ErfSegError, match=reason):
        SyntheticDrive(**{"size": SIZE, **arguments})


def test_negative_frame_is_refused(drive):
    with pytest.raises(ErfSegError, match="frame -1"):
        drive.frame(-1)
