"""What one seed decides for a whole drive: street layout, palette, light and weather."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import ErfSegError
from .atlas import Atlas, Material

WEATHERS = ("clear", "bright", "overcast", "fog", "rain", "dusk")
_WEATHER_ODDS = (0.30, 0.22, 0.24, 0.06, 0.08, 0.10)

Tint = tuple[float, float, float]


@dataclass(frozen=True)
class Layout:
    """The street's cross-section and furniture, in metres."""

    traffic_side: int  # which side is driven on: +1 left, −1 right (as d is counted)
    lanes: int  # in each direction
    lane_width: float
    parking_width: tuple[float, float]  # left, right of the road; 0 = none
    pavement_width: tuple[float, float]
    verge_width: float  # grass between kerb and pavement
    setback: float  # from pavement to facade
    side_kinds: tuple[str, ...]  # what the blocks along the road may be
    building_floors: tuple[int, int]
    parked_share: float
    tree_spacing: float  # 0 = none in the pavement
    lamp_spacing: float
    bare_trees: float  # share
    fence_kind: str
    junction_share: float
    pedestrians: float  # per 40 m of each pavement
    cyclists: float  # per 40 m of road
    oncoming: float  # cars per 40 m of road
    lead_gap: float  # metres to the car ahead; 0 = none
    line_color: Tint
    kerb_lines: int  # yellow lines along the kerb

    @property
    def half_road(self) -> float:
        """From the centre line to the edge of the driving lanes."""
        return self.lanes * self.lane_width

    def kerb(self, side: int) -> float:
        """Distance from the centre line to the kerb of that side (+1 left, −1 right)."""
        return self.half_road + self.parking_width[0 if side > 0 else 1]

    def pavement(self, side: int) -> float:
        """Width of that side's pavement."""
        return self.pavement_width[0 if side > 0 else 1]


@dataclass(frozen=True)
class Palette:
    """Ground materials and tints of a drive."""

    road: Material
    road_tint: Tint
    paving: Material
    paving_tint: Tint
    kerb_tint: Tint
    open_ground: Material
    open_tint: Tint
    open_label: int
    foliage_tints: tuple[Tint, ...]
    wall_tints: tuple[Tint, ...]
    roof_tints: tuple[Tint, ...]
    pole_tint: Tint


@dataclass(frozen=True)
class Weather:
    """Light and air."""

    name: str
    sun_direction: np.ndarray  # float64 3, towards the sun
    sun_color: np.ndarray  # float32 3 BGR, 0 where no sun comes through
    sky_light: np.ndarray  # float32 3 BGR, from everywhere
    zenith: np.ndarray  # float32 3 BGR, 0…1
    horizon: np.ndarray  # float32 3 BGR, 0…1
    cloud_cover: float
    cloud_color: np.ndarray
    haze_per_m: float
    wet: float
    lights_on: bool


def draw_layout(rng: np.random.Generator) -> Layout:
    """Draw a street: from a suburban lane to a city avenue."""
    character = rng.choice(["shops", "terrace", "suburb", "offices", "park", "mixed"])
    kinds = {
        "shops": ("shops", "shops", "shops", "terrace", "offices"),
        "terrace": ("terrace", "terrace", "terrace", "shops", "green"),
        "suburb": ("houses", "houses", "green", "terrace"),
        "offices": ("offices", "offices", "shops", "green"),
        "park": ("green", "terrace", "houses", "offices"),
        "mixed": ("shops", "terrace", "houses", "offices", "green"),
    }[str(character)]
    urban = character in ("shops", "offices", "terrace")
    low = int(rng.integers(1, 4))
    parking = [float(rng.uniform(1.9, 2.4)) if rng.random() < 0.55 else 0.0 for _ in range(2)]
    return Layout(
        traffic_side=1 if rng.random() < 0.6 else -1,
        lanes=1 if rng.random() < 0.8 else 2,
        lane_width=float(rng.uniform(2.9, 3.7)),
        parking_width=(parking[0], parking[1]),
        pavement_width=(float(rng.uniform(1.5, 4.2)), float(rng.uniform(1.5, 4.2))),
        verge_width=float(rng.uniform(0.8, 2.5)) if not urban and rng.random() < 0.5 else 0.0,
        setback=float(rng.uniform(0, 0.6)) if urban else float(rng.uniform(1.5, 6)),
        side_kinds=kinds,
        building_floors=(low, low + int(rng.integers(1, 4))),
        parked_share=float(rng.uniform(0.3, 0.9)),
        tree_spacing=float(rng.uniform(7, 20)) if rng.random() < 0.75 else 0.0,
        lamp_spacing=float(rng.uniform(18, 38)),
        bare_trees=float(rng.choice([0.0, 0.0, 0.15, 0.6, 1.0])),
        fence_kind=str(rng.choice(["railing", "planks", "panel", "mesh"])),
        junction_share=float(rng.uniform(0.1, 0.45)),
        pedestrians=float(rng.uniform(0.8, 4.5)),
        cyclists=float(rng.uniform(0.1, 0.6)),
        oncoming=float(rng.uniform(0.1, 0.8)),
        lead_gap=float(rng.uniform(9, 30)) if rng.random() < 0.6 else 0.0,
        line_color=(1.2, 1.22, 1.22) if rng.random() < 0.85 else (0.35, 0.85, 1.1),
        kerb_lines=int(rng.choice([0, 0, 1, 2])),
    )


def draw_palette(
    rng: np.random.Generator, atlas: Atlas, grass_label: int, paved_label: int
) -> Palette:
    """Draw the materials; open ground is grass or paved, with the label that goes with it."""
    grey = rng.uniform(0.38, 0.72)
    warmth = rng.normal(0, 0.02)
    stone = rng.uniform(0.6, 1.0)
    blush = rng.uniform(-0.02, 0.10)
    green = rng.random() < 0.6
    grass = (0.28, rng.uniform(0.45, 0.62), rng.uniform(0.38, 0.55))
    season = rng.choice(["summer", "summer", "spring", "autumn", "evergreen"])
    return Palette(
        road=atlas.pick("asphalt", rng),
        road_tint=(grey * (1 - warmth), grey, grey * (1 + warmth)),
        paving=atlas.pick("slabs" if rng.random() < 0.65 else "asphalt", rng),
        paving_tint=(stone * (1 - blush), stone, stone * (1 + blush)),
        kerb_tint=(stone * 1.05, stone * 1.08, stone * 1.1),
        open_ground=atlas.pick("grass" if green else "slabs", rng),
        open_tint=grass if green else (stone * 0.8, stone * 0.85, stone * 0.88),
        open_label=grass_label if green else paved_label,
        foliage_tints=tuple(_foliage(rng, str(season)) for _ in range(4)),
        wall_tints=tuple(_wall(rng) for _ in range(6)),
        roof_tints=tuple(_roof(rng) for _ in range(3)),
        pole_tint=tuple((rng.uniform(0.15, 0.75) * np.ones(3)).tolist()),
    )


def draw_weather(rng: np.random.Generator, name: str | None = None) -> Weather:
    """Draw light and air for `name` (one of WEATHERS) or for a weather drawn too."""
    if name is not None and name not in WEATHERS:
        raise ErfSegError(f"no weather '{name}': there are {', '.join(WEATHERS)}")
    drawn = str(rng.choice(WEATHERS, p=_WEATHER_ODDS))
    name = name or drawn
    azimuth = rng.uniform(0, 2 * np.pi)
    height = np.radians(rng.uniform(14, 62) if name != "dusk" else rng.uniform(2, 10))
    sun = np.array(
        [np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height)]
    )
    low = np.clip(1.2 - height, 0, 1)  # the lower the sun, the warmer
    sunlight = np.array([1 - 0.38 * low, 1 - 0.14 * low, 1.02], np.float32)
    cover, haze, wet = rng.uniform(0.15, 0.6), rng.uniform(2e-4, 1.5e-3), 0.0
    zenith = np.array([0.86, 0.62, 0.40]) * rng.uniform(0.8, 1.1)
    horizon = np.array([0.97, 0.92, 0.86])
    sun_color, sky = sunlight * rng.uniform(0.55, 0.85), np.array([0.60, 0.55, 0.52])
    cloud = np.array([0.99, 0.98, 0.97])
    if name == "bright":  # blown-out white sky, as a camera that exposes for the street sees it
        zenith, horizon, cover = np.array([1.05, 1.0, 0.96]), np.array([1.06, 1.05, 1.04]), 0.3
        sun_color = sun_color * rng.uniform(0.2, 0.9)
        sky = sky * 1.15
    elif name == "overcast":
        zenith = np.array([0.80, 0.77, 0.75]) * rng.uniform(0.75, 1.2)
        horizon, cover = zenith * 1.12, rng.uniform(0.7, 1.0)
        cloud, sun_color, sky = zenith * 0.82, sunlight * 0.04, np.array([0.84, 0.82, 0.80])
        haze *= 1.8
    elif name == "fog":
        zenith = horizon = np.array([0.84, 0.83, 0.82]) * rng.uniform(0.85, 1.05)
        cover, sun_color, sky = 0.1, sunlight * 0.02, np.array([0.82, 0.81, 0.80])
        haze = rng.uniform(0.010, 0.028)
    elif name == "rain":
        zenith = np.array([0.66, 0.62, 0.59]) * rng.uniform(0.75, 1.1)
        horizon, cover, wet = zenith * 1.15, 0.8, rng.uniform(0.4, 0.9)
        cloud, sun_color, sky = zenith * 0.8, sunlight * 0.0, np.array([0.68, 0.65, 0.62])
        haze = rng.uniform(0.002, 0.006)
    elif name == "dusk":
        zenith = np.array([0.55, 0.40, 0.32]) * rng.uniform(0.5, 1.2)
        horizon = np.array([0.55, 0.62, 0.80]) * rng.uniform(0.7, 1.2)
        cloud = zenith * 0.75
        sun_color, sky = sunlight * rng.uniform(0.05, 0.35), np.array([0.36, 0.31, 0.29])
    return Weather(
        name=name,
        sun_direction=sun,
        sun_color=np.asarray(sun_color, np.float32),
        sky_light=(sky * rng.uniform(0.9, 1.1)).astype(np.float32),
        zenith=np.asarray(zenith, np.float32),
        horizon=np.asarray(horizon, np.float32),
        cloud_cover=float(cover),
        cloud_color=np.asarray(cloud, np.float32),
        haze_per_m=float(haze),
        wet=float(wet),
        lights_on=name in ("dusk", "fog", "rain"),
    )


def _foliage(rng: np.random.Generator, season: str) -> Tint:
    if season == "autumn" and rng.random() < 0.7:
        return (0.18, rng.uniform(0.42, 0.7), rng.uniform(0.7, 1.0))
    base = {
        "summer": (0.16, 0.40, 0.27),
        "spring": (0.22, 0.55, 0.42),
        "autumn": (0.15, 0.38, 0.36),
    }
    b, g, r = base.get(season, (0.17, 0.30, 0.20))
    dark = rng.uniform(0.6, 1.25)
    return (b * dark, g * dark * rng.uniform(0.9, 1.1), r * dark * rng.uniform(0.85, 1.2))


def _wall(rng: np.random.Generator) -> Tint:
    # colour and how often it is met
    families = (
        ((0.34, 0.42, 0.66), 4),  # red brick
        ((0.48, 0.62, 0.74), 4),  # yellow stock brick
        ((0.72, 0.80, 0.86), 3),  # cream
        ((1.08, 1.10, 1.12), 3),  # white
        ((0.62, 0.64, 0.66), 3),  # grey concrete
        ((0.42, 0.50, 0.56), 3),  # brown stone
        ((0.86, 0.78, 0.66), 1),  # pale blue
        ((0.60, 0.72, 0.92), 1),  # ochre
        ((0.66, 0.80, 0.68), 1),  # pale green
    )
    odds = np.array([weight for _, weight in families], float)
    (b, g, r), _ = families[int(rng.choice(len(families), p=odds / odds.sum()))]
    light = rng.uniform(0.6, 1.12)
    jitter = rng.normal(1, 0.03, 3)
    return (b * light * jitter[0], g * light * jitter[1], r * light * jitter[2])


def _roof(rng: np.random.Generator) -> Tint:
    b, g, r = ((0.34, 0.33, 0.33), (0.28, 0.36, 0.58), (0.38, 0.42, 0.48))[rng.integers(3)]
    light = rng.uniform(0.75, 1.25)
    return (b * light, g * light, r * light)
