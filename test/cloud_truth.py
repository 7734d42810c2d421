"""Where the points of a synthetic scene are, for the tests of clouds."""

import numpy as np


def expected_xyz(scene):
    """By the definition of the pinhole, in double precision; NaN for the sky."""
    camera, depth = scene.camera, scene.depth_m.astype(float)
    v, u = np.mgrid[: camera.height, : camera.width]
    x, y = (u - camera.cx) / camera.fx * depth, (v - camera.cy) / camera.fy * depth
    place = np.stack([x, y, depth], axis=-1)
    place[~np.isfinite(depth)] = np.nan
    return place
