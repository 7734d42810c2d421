"""Frozen, black and saturated pictures are told from ordinary ones, quickly."""

import time

import numpy as np
import pytest

from erf_seg_ros.image_checks import ImageChecks

SIZES = [(60, 80), (720, 1280), (1080, 1920), (1, 1), (3, 2000)]


def noisy(seed, size=(180, 320), level=100, noise=3):
    """What a sensor sees of a still scene: a level and its own noise."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(level - noise, level + noise + 1, (*size, 3))
    return np.clip(picture, 0, 255).astype(np.uint8)


def after(pictures, period=0.1):
    checks = ImageChecks()
    for number, picture in enumerate(pictures):
        checks.observe(picture, 100.0 + period * number)
    return checks.state


@pytest.mark.parametrize("size", SIZES)
def test_same_picture_again_and_again_is_frozen(size):
    state = after([noisy(0, size)] * 11)
    assert state.identical_frames == 10
    assert state.frozen_s == pytest.approx(1.0)


@pytest.mark.parametrize("size", SIZES[:3])
def test_noise_of_a_still_scene_is_not_frozen(size):
    state = after([noisy(seed, size, noise=1) for seed in range(5)])
    assert (state.identical_frames, state.frozen_s) == (0, 0.0)


def test_object_of_a_hundredth_of_the_picture_moves():
    pictures = []
    for place in (100, 180):
        picture = np.full((720, 1280, 3), 90, np.uint8)
        picture[300:400, place : place + 90] = 20
        pictures.append(picture)
    assert after(pictures * 5).identical_frames == 0


def test_frozen_picture_that_moves_again_is_forgiven():
    state = after([*[noisy(0)] * 30, noisy(1)])
    assert (state.identical_frames, state.frozen_s) == (0, 0.0)


@pytest.mark.parametrize("level", [0, 6, 12])
def test_covered_lens_is_black(level):
    state = after([noisy(seed, level=level) for seed in range(6)])
    assert state.black_s == pytest.approx(0.5)
    assert state.dark_fraction == 1.0
    assert state.frozen_s == state.saturated_s == 0.0
    assert state.brightness < 16


def test_night_road_is_not_black():
    picture = noisy(0, level=6)
    picture[75:105, 50:175] = 120  # what the headlamps reach
    assert after([picture] * 6).black_s == 0.0


@pytest.mark.parametrize("level", [252, 255])
def test_blown_out_picture_is_saturated(level):
    state = after([noisy(seed, level=level, noise=1) for seed in range(6)])
    assert state.saturated_s == pytest.approx(0.5)
    assert state.black_s == 0.0


def test_low_sun_and_bright_colours_are_not_saturated():
    picture = noisy(0)
    picture[:90] = 255
    assert after([picture] * 6).saturated_s == 0.0
    assert after([np.full((60, 80, 3), (0, 0, 255), np.uint8)] * 6).saturated_s == 0.0


def test_black_begins_anew_after_light():
    black, light = noisy(0, level=0), noisy(1)
    assert after([*[black] * 9, light, black, black]).black_s == pytest.approx(0.1)


def test_padded_rows_and_read_only_pictures_are_looked_at():
    buffer = np.zeros((60, 100, 3), np.uint8)
    picture = buffer[:, :80]
    picture.flags.writeable = False
    assert after([picture] * 2).dark_fraction == 1.0


def test_sample_outlives_the_message_it_came_from():
    checks, picture = ImageChecks(), noisy(0)
    checks.observe(picture, 0.0)
    picture[:] = 7  # the middleware uses its memory again
    checks.observe(noisy(0), 1.0)
    assert checks.state.identical_frames == 1


def test_megapixel_picture_costs_less_than_a_millisecond():
    pictures = [noisy(seed, (720, 1280)) for seed in range(2)]
    checks, seconds = ImageChecks(), []
    for number in range(60):
        start = time.process_time()
        checks.observe(pictures[number % 2], number / 30)
        seconds.append(time.process_time() - start)
    assert np.median(seconds) < 1e-3
