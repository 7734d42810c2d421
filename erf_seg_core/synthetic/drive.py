"""`SyntheticDrive`: frames of an endless seeded drive, with exact labels and depth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..errors import ErfSegError
from . import sensor as sensors
from . import sky as skies
from .atlas import VARIANTS, load_atlas
from .camera import CameraIntrinsics, CameraPose
from .kit import Kit
from .labels import PAVEMENT, TREE, VOID
from .mesh import LAYER_BONNET, Mesh, MeshBuilder, merge
from .rasterizer import paint
from .road import Road
from .shading import shade
from .shadows import contact_shade, sun_shadow
from .style import draw_layout, draw_palette, draw_weather
from .traffic import Traffic, draw_ego
from .world import World

SMALLEST, LARGEST = 32, 4096


@dataclass(frozen=True)
class SceneFrame:
    """One picture and its truth."""

    image_bgr: np.ndarray  # uint8 H×W×3
    labels: np.ndarray  # uint8 H×W, CamVid-11 ids; 255 = void (own bonnet, litter bins)
    depth_m: np.ndarray  # float32 H×W, metres along the optical axis; +inf for sky (REP-117)
    camera: CameraIntrinsics
    camera_to_world: np.ndarray  # float64 4×4, from the optical frame; the road is at z = 0


class SyntheticDrive:
    """A drive through a procedural street; everything follows from the seed.

    `frame(i)` depends on (seed, i, size, rate_hz, weather) only, not on the frames asked for
    before. Drives of different seeds differ in street, light, weather, camera and traffic.
    `size` is (height, width); `rate_hz` the frames per second; `weather` one of `style.WEATHERS`,
    or None to let the seed choose. Raises `ErfSegError` for sizes, rates or names out of range.
    """

    def __init__(
        self,
        seed: int = 0,
        size: tuple[int, int] = (360, 480),
        rate_hz: float = 15.0,
        weather: str | None = None,
    ) -> None:
        """Draw the drive; the first one of a process also paints the textures (a second)."""
        height, width = size
        if not (SMALLEST <= height <= LARGEST and SMALLEST <= width <= LARGEST):
            raise ErfSegError(
                f"a synthetic frame of {width}×{height} is not possible: each side must have "
                f"{SMALLEST} to {LARGEST} pixels"
            )
        if seed < 0 or not rate_hz > 0:
            raise ErfSegError(f"seed {seed} must be 0 or more, and rate {rate_hz} above 0")
        self.seed, self.rate_hz = seed, rate_hz
        self._variant = seed % VARIANTS
        atlas = load_atlas(self._variant)
        rng = np.random.default_rng([seed, 1])
        palette = draw_palette(rng, atlas, TREE, PAVEMENT)
        self._kit = Kit(Road(np.random.default_rng([seed, 2])), draw_layout(rng), palette, atlas)
        self.weather = draw_weather(np.random.default_rng([seed, 3]), weather)
        self._sensor = sensors.draw_sensor(np.random.default_rng([seed, 4]))
        rng = np.random.default_rng([seed, 5])
        self._ego = draw_ego(rng, self._kit)
        self.camera = CameraIntrinsics.from_fov(width, height, float(rng.uniform(48, 74)))
        self._bonnet = self._draw_bonnet(rng) if rng.random() < 0.2 else None
        lights = self.weather.lights_on
        self._world = World(seed, self._kit, lights)
        self._traffic = Traffic(seed, self._kit, self._ego, lights)

    def frame(self, index: int) -> SceneFrame:
        """Frame number `index` (0 or more) of the drive."""
        if index < 0:
            raise ErfSegError(f"frame {index} does not exist: frames count from 0")
        t = index / self.rate_hz
        rng = np.random.default_rng([self.seed, 6, index])
        pose = self._ego.pose(self._kit, t)
        mesh, casters, contacts = self._scene(t, pose)
        painted = paint(mesh, self.camera, pose)
        shadow = contact_shade(contacts, self.camera, pose)
        if self.weather.sun_color.max() > 0.06:
            shadow *= sun_shadow(casters, self.weather.sun_direction, self.camera, pose)
        surfaces = shade(mesh, painted, self._kit.atlas, self.weather, self.camera, pose, shadow)
        color = surfaces.color
        self._paint_sky(color, surfaces.sky, pose, t)
        if self.weather.wet:
            horizon = self.camera.cy + self.camera.fy * np.tan(np.arcsin(pose.rotation[2, 2]))
            sensors.add_rain(color, surfaces.depth, surfaces.ground, horizon, self.weather.wet, rng)
        image = sensors.expose(color, painted.numbers, self._sensor, rng)
        return SceneFrame(
            image, surfaces.labels, surfaces.depth, self.camera, pose.camera_to_world()
        )

    def _scene(self, t: float, pose: CameraPose) -> tuple[Mesh, list[np.ndarray], list[np.ndarray]]:
        """All faces, shadow casters and footprints around the camera."""
        forward = pose.rotation[:, 2]
        yaw = float(np.arctan2(forward[1], forward[0]))
        x, y = pose.position[:2]
        pieces = self._world.around(self._ego.travelled(t))
        pieces.append(self._traffic.at(t, yaw))
        meshes = [_moved(self._world.open_ground, x, y), _moved(self._world.skyline, x, y)]
        meshes += [piece.solid for piece in pieces]
        meshes += [piece.billboards.facing(yaw) for piece in pieces]
        if self._bonnet is not None:
            meshes.append(_mounted(self._bonnet, pose))
        casters = [caster for piece in pieces for caster in piece.casters]
        contacts = [contact for piece in pieces for contact in piece.contacts]
        return merge(meshes), casters, contacts

    def _paint_sky(self, color: np.ndarray, sky: np.ndarray, pose: CameraPose, t: float) -> None:
        rows = np.flatnonzero(sky.any(axis=1))
        if not len(rows):
            return
        count = int(rows[-1]) + 1
        sky_color = skies.render_sky(self.weather, self.camera, pose, count, self._variant, 0.4 * t)
        np.copyto(color[:count], sky_color, where=sky[:count, :, None])

    def _draw_bonnet(self, rng: np.random.Generator) -> Mesh:
        """Our own bonnet at the lower edge, in camera coordinates."""
        reach = float(rng.uniform(1.7, 2.2))
        half_height = self.camera.height / 2 / self.camera.fy
        low = half_height * reach * rng.uniform(0.86, 0.97)
        near = 0.6
        x = np.linspace(-1.0, 1.0, 15)
        # all at one height, so that its depth is exact; the leading edge is rounded
        edge = np.stack([x, np.full(15, low), reach - 0.35 * np.abs(x) ** 3], axis=1)
        close = np.array([[1.0, low, near], [-1.0, low, near]])
        builder = MeshBuilder()
        builder.begin()
        tint = np.array([0.5, 0.5, 0.5]) * rng.uniform(0.2, 1.6)
        builder.face(
            [np.concatenate([edge, close])],
            self._kit.material("plain"),
            tint,
            VOID,
            origin=edge[0],
            right=np.array([1.0, 0, 0]),
            up=np.array([0.0, 0, 1.0]),
            two_sided=True,
            layer=LAYER_BONNET,
        )
        return builder.build()


def _moved(mesh: Mesh, x: float, y: float) -> Mesh:
    """Shift the shape but not its texture, so that it does not seem to travel with us."""
    return replace(mesh, vertices=mesh.vertices + np.array([x, y, 0.0]))


def _mounted(mesh: Mesh, pose: CameraPose) -> Mesh:
    """From camera to world coordinates."""
    turn = pose.rotation.T
    return replace(
        mesh,
        vertices=mesh.vertices @ turn + pose.position,
        origin=mesh.origin @ turn + pose.position,
        u_axis=mesh.u_axis @ turn,
        v_axis=mesh.v_axis @ turn,
        normal=mesh.normal @ turn,
    )
