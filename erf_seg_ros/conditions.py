"""What can be wrong with a camera, each with a name that stays, a level and the figures behind it.

Every function judges one condition from what was seen over the last seconds; knows no ROS.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from .frame_counts import FrameCounts
from .image_checks import PictureState

TOLERATED_DROPS = 0.1
"""Fraction of frames that may be dropped before the node counts as slower than its camera; single
drops happen whenever the machine is busy for a moment."""

TOLERATED_LOSSES = 0.05
"""Fraction of images that may get lost on the way, as they do while two processes are meeting."""

FEW_LOSSES = 2
"""So many lost images are no finding, whatever their fraction."""

HEAVY_LOSSES = 0.5
"""Fraction of lost images that is an error: more is gone than arrives."""

ERROR_FACTOR = 5.0
"""What lasts so many times the duration that warns is an error, not only a warning."""


class Level(IntEnum):
    """Same values as `diagnostic_msgs/DiagnosticStatus`."""

    OK = 0
    WARN = 1
    ERROR = 2


@dataclass(frozen=True)
class Verdict:
    """One status for `/diagnostics`: its level, one sentence, and the figures behind it."""

    level: Level
    message: str
    values: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """Durations in seconds, from the parameters of the same names; 0 switches a check off."""

    stale_after: float
    bad_image_after: float


@dataclass(frozen=True)
class Window:
    """A camera over the watched time: the counts at both ends, and what it shows now.

    `silence` is in seconds since the last image, or since activation where none was `heard` yet.
    `unheard` are sentences about publishers whose images cannot be received, `cure` says how
    images that get lost on the way are saved, `cure_values` the same for programs.
    """

    topic: str
    seconds: float
    before: FrameCounts
    after: FrameCounts
    silence: float
    heard: bool
    picture: PictureState
    unheard: tuple[str, ...]
    cure: str
    cure_values: dict[str, str]

    def count(self, name: str) -> int:
        """How much a count grew."""
        return getattr(self.after, name) - getattr(self.before, name)

    def rate(self, name: str) -> float:
        """How much a count grew in a second."""
        return self.count(name) / self.seconds

    def mean(self, sum_name: str) -> float:
        """Mean over the labelled frames; nan if there were none."""
        total = getattr(self.after, sum_name) - getattr(self.before, sum_name)
        return total / self.count("labelled") if self.count("labelled") else float("nan")


def missing(window: Window, limits: Limits) -> Verdict:
    """No image for too long."""
    silence = window.silence
    values = {"time_since_last_frame_s": f"{silence:.2f}" if window.heard else "never"}
    if window.heard:
        sentence = f"the last image on {window.topic} came {silence:.1f} s ago"
    else:
        sentence = f"no image on {window.topic} for {silence:.1f} s since activation"
    return Verdict(_lasting(silence, limits.stale_after), sentence, values)


def unheard(window: Window, limits: Limits) -> Verdict:
    """Publishers of images that the subscription does not match; an error where it hears nobody."""
    values = {"unheard_publishers": str(len(window.unheard))}
    if not window.unheard:
        return Verdict(Level.OK, "", values)
    level = Level.WARN if window.count("received") else Level.ERROR
    return Verdict(level, f"cannot receive from everybody: {', '.join(window.unheard)}", values)


def lost(window: Window, limits: Limits) -> Verdict:
    """Images that the camera sent and that never arrived; neither its jitter nor our own drops."""
    gone = window.count("lost")
    sent = gone + window.count("received")
    fraction = gone / sent if sent else 0.0
    values = {"lost": str(window.after.lost), "lost_percent": f"{100 * fraction:.1f}"}
    if gone <= FEW_LOSSES or fraction <= TOLERATED_LOSSES:
        return Verdict(Level.OK, "", values)
    level = Level.ERROR if fraction > HEAVY_LOSSES else Level.WARN
    sentence = f"{gone} of {sent} images on {window.topic} were lost on the way: {window.cure}"
    return Verdict(level, sentence, values | window.cure_values)


def malformed(window: Window, limits: Limits) -> Verdict:
    """Images that could not be read."""
    bad, reason = window.count("malformed"), window.after.last_malformed
    values = {"malformed": str(window.after.malformed), "last_malformed_reason": reason}
    if not bad:
        return Verdict(Level.OK, "", values)
    level = Level.WARN if window.count("labelled") else Level.ERROR
    sentence = f"{bad} of {window.count('received')} images were malformed, last: {reason}"
    return Verdict(level, sentence, values)


def failed(window: Window, limits: Limits) -> Verdict:
    """Errors of the network."""
    count, reason = window.count("failed"), window.after.last_failure
    values = {"failed": str(window.after.failed), "last_failure_reason": reason}
    level = Level.ERROR if count else Level.OK
    return Verdict(level, f"the network failed on {count} images: {reason}", values)


def too_old(window: Window, limits: Limits) -> Verdict:
    """Images dropped on arrival, because their stamps are further back than `max_age`."""
    count = window.count("too_old")
    values = {"too_old": str(window.after.too_old)}
    if not count:
        return Verdict(Level.OK, "", values)
    level = Level.WARN if window.count("labelled") else Level.ERROR
    sentence = f"{count} of {window.count('received')} images were older than max_age on arrival"
    return Verdict(level, sentence, values)


def slow(window: Window, limits: Limits) -> Verdict:
    """The network does not keep up with the camera; an error where nothing comes out at all."""
    rate_in, rate_out = window.rate("received"), window.rate("labelled")
    values = {
        "rate_in_hz": f"{rate_in:.2f}",
        "rate_out_hz": f"{rate_out:.2f}",
        "dropped": str(window.after.dropped),
        "mean_latency_ms": f"{window.mean('latency_sum_ms'):.1f}",
    }
    if window.count("dropped") <= TOLERATED_DROPS * window.count("received"):
        return Verdict(Level.OK, "", values)
    sentence = f"slower than the camera: {rate_in:.1f} Hz in, {rate_out:.1f} Hz out"
    return Verdict(Level.WARN if rate_out else Level.ERROR, sentence, values)


def frozen(window: Window, limits: Limits) -> Verdict:
    """The same picture again and again."""
    picture = window.picture
    values = {
        "identical_frames": str(picture.identical_frames),
        "frozen_s": f"{picture.frozen_s:.2f}",
    }
    sentence = f"the picture is frozen: {picture.identical_frames} more images are all the same"
    return Verdict(_lasting(picture.frozen_s, limits.bad_image_after), sentence, values)


def black(window: Window, limits: Limits) -> Verdict:
    """A picture without light."""
    picture = window.picture
    return _all_over(window, limits, "black", "dark", picture.dark_fraction, picture.black_s)


def saturated(window: Window, limits: Limits) -> Verdict:
    """A picture that is white all over."""
    picture = window.picture
    fraction, seconds = picture.saturated_fraction, picture.saturated_s
    return _all_over(window, limits, "saturated", "saturated", fraction, seconds)


CONDITIONS = (
    missing,
    unheard,
    lost,
    malformed,
    failed,
    too_old,
    slow,
    frozen,
    black,
    saturated,
)
"""In the order in which they are told; their names are part of the statuses' names."""


def _lasting(seconds: float, warn_after: float) -> Level:
    if not 0.0 < warn_after < seconds:
        return Level.OK
    return Level.ERROR if seconds > ERROR_FACTOR * warn_after else Level.WARN


def _all_over(
    window: Window, limits: Limits, what: str, pixels: str, fraction: float, seconds: float
) -> Verdict:
    """A picture that is `what` for `seconds`; `fraction` of it are such `pixels` now."""
    values = {
        "mean_brightness": f"{window.picture.brightness:.1f}",
        f"{pixels}_percent": f"{100 * fraction:.1f}",
        f"{what}_s": f"{seconds:.2f}",
    }
    sentence = f"the picture has been {what} for {seconds:.1f} s"
    return Verdict(_lasting(seconds, limits.bad_image_after), sentence, values)
