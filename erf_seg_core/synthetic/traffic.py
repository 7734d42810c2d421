"""Everything that moves: the ego vehicle, other traffic, cyclists and pedestrians."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from . import people, vehicles
from .camera import CameraPose
from .kit import KERB_HEIGHT_M, BuiltPiece, Kit, Piece
from .world import BLOCK_M, add_vehicle

_PEOPLE_VISIBLE_M = 110.0
_AHEAD_M = 230.0
_KEPT = 32


@dataclass(frozen=True)
class Ego:
    """How the camera rides: heights in metres, angles in radians, frequencies in Hz."""

    speed: float
    height: float
    pitch: float
    lateral: float
    wobble: np.ndarray  # amplitude, frequency, phase of each of (speed, lateral, yaw, pitch, roll)

    def travelled(self, t: float) -> float:
        """Road position s in metres after t seconds; the speed swings but stays forwards."""
        swing, frequency, phase = self.wobble[0]
        angle = 2 * np.pi * frequency
        return self.speed * (t - swing / angle * (np.cos(angle * t + phase) - np.cos(phase)))

    def swing(self, index: int, t: float) -> float:
        """Wobble number `index` at time t."""
        amplitude, frequency, phase = self.wobble[index]
        slow = np.sin(2 * np.pi * frequency * t + phase)
        quick = np.sin(2 * np.pi * 3.7 * frequency * t + 2 * phase)
        return float(amplitude * (slow + 0.35 * quick))

    def pose(self, kit: Kit, t: float) -> CameraPose:
        """Camera pose after t seconds."""
        s = self.travelled(t)
        d = self.lateral + self.swing(1, t)
        position = kit.road.ground(s, d, self.height + 0.3 * self.swing(3, t))
        yaw = float(kit.road.heading(s + 4.0)) + self.swing(2, t)
        return CameraPose.looking(position, yaw, self.pitch + self.swing(3, t), self.swing(4, t))


def draw_ego(rng: np.random.Generator, kit: Kit) -> Ego:
    """Draw how this drive's camera is mounted and driven."""
    layout = kit.layout
    amplitude = np.array([0.2, 0.12, 0.012, 0.004, 0.004]) * rng.uniform(0.4, 1.3, 5)
    frequency = np.array([0.06, 0.1, 0.13, 0.45, 0.3]) * rng.uniform(0.7, 1.4, 5)
    return Ego(
        speed=float(rng.uniform(4.5, 12)),
        height=float(rng.uniform(1.2, 1.9)),
        pitch=float(np.radians(rng.uniform(-3.5, 2.0))),
        lateral=layout.traffic_side * (layout.lanes - 0.5) * layout.lane_width,
        wobble=np.stack([amplitude, frequency, rng.uniform(0, 2 * np.pi, 5)], axis=1),
    )


@dataclass(frozen=True)
class _Walker:
    """Somebody on a path at constant speed along the road, or standing (`speed` 0)."""

    home: float  # where they are when the ego passes there
    speed: float  # metres per second along the road, negative towards us
    d: float
    heading: float  # offset to the road's direction
    phase: float
    looks: people.Looks
    cycling: bool


@dataclass(frozen=True)
class _Driver:
    home: float
    d: float
    vehicle: vehicles.Vehicle


class Traffic:
    """Moving things of one drive; who is met where follows from (seed, block number)."""

    def __init__(self, seed: int, kit: Kit, ego: Ego, lights_on: bool) -> None:
        """Nothing is drawn before it is asked for, except the car ahead."""
        self._seed, self._kit, self._ego, self._lit = seed, kit, ego, lights_on
        self._met: OrderedDict[int, tuple[list[_Walker], list[_Driver]]] = OrderedDict()
        rng = np.random.default_rng([seed, 23])
        self._lead = vehicles.build_vehicle(
            kit.atlas, rng, vehicles.pick_kind(rng), bool(rng.random() < 0.5), lights_on
        )
        self._gap_phase = rng.uniform(0, 2 * np.pi)

    def at(self, t: float, camera_yaw: float) -> BuiltPiece:
        """All that moves, where it is after t seconds."""
        piece = Piece()
        s_ego = self._ego.travelled(t)
        layout = self._kit.layout
        if layout.lead_gap:
            gap = layout.lead_gap * (1 + 0.25 * np.sin(0.21 * t + self._gap_phase))
            s = s_ego + gap + self._lead.length / 2
            add_vehicle(piece, self._kit, self._lead, s, self._ego.lateral, reverse=False)
        for number in range(int((s_ego - 30) // BLOCK_M), int((s_ego + _AHEAD_M) // BLOCK_M) + 1):
            walkers, drivers = self._block(number)
            for driver in drivers:
                # they come at about our own speed, so that we meet at `home`
                s = 2 * driver.home - s_ego
                if -20 < s - s_ego < _AHEAD_M:
                    add_vehicle(piece, self._kit, driver.vehicle, s, driver.d, reverse=True)
            for walker in walkers:
                s = walker.home + walker.speed / self._ego.speed * (s_ego - walker.home)
                if -3 < s - s_ego < _PEOPLE_VISIBLE_M:
                    self._draw_walker(piece, walker, s, t, camera_yaw)
        return piece.finish()

    def _draw_walker(
        self, piece: Piece, walker: _Walker, s: float, t: float, camera_yaw: float
    ) -> None:
        kit = self._kit
        on_road = abs(walker.d) < kit.layout.kerb(1 if walker.d > 0 else -1)
        anchor = kit.road.ground(s, walker.d, 0.0 if on_road else KERB_HEIGHT_M)
        turn = float(kit.road.heading(s)) + walker.heading - camera_yaw
        builder = piece.billboard(anchor)
        if walker.cycling:
            phase = walker.phase - t * abs(walker.speed) * 1.3
            people.draw_cyclist(builder, kit.atlas, walker.looks, phase, turn)
        else:
            phase = walker.phase + t * 5.8 * walker.looks.height / 1.7
            people.draw_pedestrian(
                builder, kit.atlas, walker.looks, phase, turn, walking=walker.speed != 0
            )
        width = 0.2
        foot = np.array(
            [[-width, -width, 0], [width, -width, 0], [width, width, 0], [-width, width, 0]]
        )
        piece.casters.append(np.concatenate([anchor + foot, anchor + foot * 0.7 + [0, 0, 1.7]]))
        piece.contacts.append(anchor + foot)

    def _block(self, number: int) -> tuple[list[_Walker], list[_Driver]]:
        if number not in self._met:
            self._met[number] = self._draw_block(number)
            if len(self._met) > _KEPT:
                self._met.popitem(last=False)
        self._met.move_to_end(number)
        return self._met[number]

    def _draw_block(self, number: int) -> tuple[list[_Walker], list[_Driver]]:
        layout, kit = self._kit.layout, self._kit
        rng = np.random.default_rng([self._seed, 29, number + 1000])
        s0 = number * BLOCK_M
        walkers, drivers = [], []
        for side in (1, -1):
            for _ in range(rng.poisson(layout.pedestrians)):
                near = layout.kerb(side) + layout.verge_width
                d = side * rng.uniform(near + 0.3, near + layout.pavement(side) - 0.3)
                walkers.append(_pedestrian(rng, s0 + rng.uniform(0, BLOCK_M), d))
        for _ in range(rng.poisson(layout.cyclists)):
            with_us = rng.random() < 0.6
            side = layout.traffic_side * (1 if with_us else -1)
            d = side * (layout.half_road - rng.uniform(0.5, 0.9))
            speed = rng.uniform(0.25, 0.5) * self._ego.speed * (1 if with_us else -1)
            walkers.append(_cyclist(rng, s0 + rng.uniform(0, BLOCK_M), d, float(speed)))
        if rng.random() < layout.oncoming:
            lane = -layout.traffic_side * (rng.integers(layout.lanes) + 0.5) * layout.lane_width
            vehicle = vehicles.build_vehicle(
                kit.atlas, rng, vehicles.pick_kind(rng), False, self._lit
            )
            drivers.append(_Driver(s0 + rng.uniform(0, 20), float(lane), vehicle))
        return walkers, drivers


def _pedestrian(rng: np.random.Generator, home: float, d: float) -> _Walker:
    standing = rng.random() < 0.18
    forwards = rng.random() < 0.5
    speed = 0.0 if standing else float(rng.uniform(0.9, 1.7)) * (1 if forwards else -1)
    heading = rng.uniform(0, 2 * np.pi) if standing else (0.0 if forwards else np.pi)
    looks = people.draw_looks(rng)
    return _Walker(home, speed, float(d), float(heading), rng.uniform(0, 6.28), looks, False)


def _cyclist(rng: np.random.Generator, home: float, d: float, speed: float) -> _Walker:
    heading = 0.0 if speed > 0 else np.pi
    return _Walker(
        home, speed, float(d), heading, rng.uniform(0, 6.28), people.draw_looks(rng), True
    )
