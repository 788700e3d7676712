"""The embedded data set `shapes`: 32x32 colour images of 12 classes, drawn by code, offline.

A class is a silhouette filled with a texture; place, size, rotation, colours and background vary
and say nothing about it. Each image has random numbers of its own, and its pixels meet only
+ - * / sqrt and rounding, which IEEE 754 fixes to the last bit: it is the same alone, in any set
and on any machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
from numpy import maximum, minimum
from numpy.typing import ArrayLike

Table = dict[str, Callable[[SimpleNamespace], np.ndarray]]
SIDE, CHUNK = 32, 64  # pixels; images drawn at once (their work arrays fit a processor's cache)
PER_CLASS = {"train": 1000, "test": 250}
NAMES = """rotation radius aspect shift_x shift_y frequency phase_x phase_y order swap other scenery
    dark_hue dark_saturation darkness light_hue light_saturation contrast
    ground_hue ground_saturation ground_value slope_x slope_y noise"""
NUMBERS = tuple(NAMES.split())  # drawn anew for every image; another order changes all images
GRID = (4, 9, 9)  # more numbers, stretched by HAT to three clouds and the speckle texture
HAT = maximum(0, 1 - abs((np.arange(SIDE) + 0.5) / 4 - np.arange(9)[:, None])).astype(np.float32)
WORDS = np.cumsum([len(NUMBERS), np.prod(GRID), 2 * 3 * SIDE * SIDE // 8])  # of 64 bits
X, Y = np.meshgrid(*[(np.arange(SIDE, dtype=np.float32) + 0.5) * 2 / SIDE - 1] * 2)


@dataclass(frozen=True)
class Difficulty:
    """How much varies within a class. SimCLR learns the default; harder ones are an exercise."""

    rotation: float = 180.0  # degrees, to either side
    radius: tuple[float, float] = (0.60, 1.00)  # of half the image
    frequency: tuple[float, float] = (1.4, 2.4)  # texture cycles per radius
    saturation: tuple[float, float] = (0.04, 0.40)  # of the two fill colours
    background_texture: float = 0.0  # contrast of a texture, of any class, behind the object
    texture_swap: float = 0.0  # probability that the fill is another class's texture

    def __post_init__(self) -> None:
        limits = {"rotation": (0, 180), "radius": (0.1, 2), "frequency": (0.1, 8)}
        for name, value in vars(self).items():
            least, most = limits.get(name, (0, 1))
            ends = value if name in ("radius", "frequency", "saturation") else (value, value)
            good = np.shape(ends) == (2,) and least <= ends[0] <= ends[1] <= most
            _require(good, name, value, f"{least} to {most}, of two numbers the lower first")


# Signed distances to the nearest edge in object units (radius 1), positive inside. A canvas c has
# c.x, c.y, the same in polar form (c.r, c.turn: angle in turns) and in texture cycles (c.s, c.t).
SILHOUETTES = {
    "disc": lambda c: 0.85 - c.r,
    "square": lambda c: _box(c.x, c.y, 0.72, 0.72),
    "triangle": lambda c: minimum(c.y + 0.47, 0.47 - 0.866 * abs(c.x) - 0.5 * c.y),
    "star": lambda c: 0.6 * (0.65 + 1.32 * _wave(5 * c.turn) - c.r),
    "cross": lambda c: maximum(_box(c.x, c.y, 0.9, 0.26), _box(c.x, c.y, 0.26, 0.9)),
    "crescent": lambda c: minimum(0.88 - c.r, _length(c.x - 0.42, c.y) - 0.66),
    "ring": lambda c: 0.28 - abs(c.r - 0.64),
    "flower": lambda c: 0.7 * (0.95 - 2 * _off(6 * c.turn) ** 2 - c.r),
    "dumbbell": lambda c: maximum(0.38 - _length(abs(c.x) - 0.55, c.y), _box(c.x, c.y, 0.55, 0.14)),
    "arrow": lambda c: maximum(
        _box(c.x + 0.4, c.y, 0.5, 0.2), minimum(c.x, 0.57 - 0.6 * c.x - 0.8 * abs(c.y))
    ),
    "blob": lambda c: 0.76 + 0.4 * _wave(3 * c.turn) - c.r,
    "hexbar": lambda c: minimum(0.36 - abs(c.y), 0.82 - 0.87 * abs(c.x) - 0.5 * abs(c.y)),
}
TEXTURES = {
    "speckle": lambda c: 8 * c.pixel * (c.specks - 0.5),  # c.pixel undoes the sharpening of _paint
    "checker": lambda c: 4 * _wave(c.s) * _wave(c.t) / c.frequency,
    "dots": lambda c: (0.3 - _length(_off(c.s), _off(c.t))) / c.frequency,
    "zigzag": lambda c: _wave(c.t + 1.6 * _off(0.8 * c.s)) / (1.6 * c.frequency),
    "spokes": lambda c: _wave(4 * c.turn + 0.25) * c.r * 1.5,
    "rings": lambda c: _wave(c.r * c.frequency + c.phase) / c.frequency,
    "grid": lambda c: (maximum(_off(c.s), _off(c.t)) - 0.36) / c.frequency,
    "waves": lambda c: _wave(c.t + 2 * _off(0.5 * c.s) ** 2) / c.frequency,
    "stripes": lambda c: _wave(c.s) / c.frequency,
    "halves": lambda c: c.y,
    "spiral": lambda c: _wave(2 * c.turn - c.r * c.frequency + c.phase) / c.frequency,
    "ramp": lambda c: 0.65 * c.pixel * c.x,
}
CLASS_NAMES = tuple(map("-".join, zip(SILHOUETTES, TEXTURES, strict=True)))


def _off(cycles: np.ndarray) -> np.ndarray:
    return abs(cycles - np.rint(cycles))  # distance to the nearest whole cycle, 0 to 0.5


def _wave(cycles: np.ndarray) -> np.ndarray:
    return 0.25 - _off(cycles)  # signed distance to the edges of stripes, in cycles


def _length(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    length: np.ndarray = np.sqrt(x * x + y * y)
    return length


def _box(x: np.ndarray, y: np.ndarray, width: float, height: float) -> np.ndarray:
    inside: np.ndarray = minimum(width - abs(x), height - abs(y))
    return inside


def _between(ends: tuple[float, float], uniform: np.ndarray) -> np.ndarray:
    return ends[0] + (ends[1] - ends[0]) * uniform


def _require(good: bool, name: str, value: object, allowed: str) -> None:
    if not good:
        raise ValueError(f"{name}: got {value!r}, allowed: {allowed}")


def _whole(name: str, values: ArrayLike, most: int, least: int = 0, ndim: int = 0) -> np.ndarray:
    values = np.asarray(values)
    good = (values >= least) & (values <= most) if values.dtype.kind in "iu" else np.False_
    wrong = values[~np.broadcast_to(good & (values.ndim == ndim), values.shape)]
    kind = "one whole number" if ndim == 0 else "a list of whole numbers"
    _require(wrong.size == 0, name, wrong[:3].tolist(), f"{kind} from {least} to {most}")
    return values.astype(np.int64)


def _rgb(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Turns HSV in [0, 1], each [n, 1, 1], into RGB [n, 3, 1, 1]."""
    wheel = (6 * hue[:, None] + np.array([[[0]], [[4]], [[2]]], np.float32)) % 6
    pure = np.clip(abs(wheel - 3) - 1, 0, 1)
    colours: np.ndarray = value[:, None] * (1 - saturation[:, None] * (1 - pure))
    return colours


def _random_numbers(keys: np.ndarray) -> SimpleNamespace:
    """Draws, for keys [n, 2], NUMBERS as [n, 1, 1] each, clouds, specks and pixel noise."""
    words = np.stack([np.random.Philox(key=key).random_raw(WORDS[-1]) for key in keys])
    uniform = (words[:, : WORDS[1]] >> np.uint64(48)).astype(np.float32) / 2**16
    u = SimpleNamespace(**{name: uniform[:, k, None, None] for k, name in enumerate(NUMBERS)})
    clouds = HAT.T @ uniform[:, WORDS[0] :].reshape(-1, *GRID) @ HAT  # 16 + 8 bits: no rounding
    u.clouds, u.specks = clouds[:, :3], clouds[:, 3]
    pairs = words[:, WORDS[1] :].view(np.uint8).reshape(-1, 2, 3, SIDE, SIDE).astype(np.float32)
    u.pixel_noise = (pairs[:, 0] - pairs[:, 1]) / 104.5  # triangular, standard deviation 1
    return u


def _canvas(
    x: np.ndarray, y: np.ndarray, pixel: np.ndarray, frequency: np.ndarray, u: SimpleNamespace
) -> dict[str, np.ndarray]:
    """All coordinates of an object, from x, y in radii [n, 32, 32]; `pixel` is one in radii."""
    ratio = minimum(abs(x), abs(y)) / (maximum(abs(x), abs(y)) + np.float32(1e-6))
    turn = ratio * (0.16845 - 0.04345 * ratio)  # arctangent to 0.001 turns, by exact steps only
    turn = np.where(abs(y) > abs(x), 0.25 - turn, turn)
    turn = np.copysign(np.where(x < 0, 0.5 - turn, turn), y)
    c = {"x": x, "y": y, "r": _length(x, y), "turn": turn, "pixel": pixel, "frequency": frequency}
    c |= {"s": x * frequency + 50 * u.phase_x, "t": y * frequency + 50 * u.phase_y}
    return c | {"phase": u.phase_x, "specks": u.specks}


def _paint(table: Table, kinds: np.ndarray, canvas: dict[str, np.ndarray]) -> np.ndarray:
    """Anti-aliased coverage, 0 to 1, by each image's kind of shape in the table: [n, 1, 32, 32]."""
    coverage = np.empty_like(canvas["x"])
    for kind in np.unique(kinds):
        rows = kinds == kind
        c = SimpleNamespace(**{name: part[rows] for name, part in canvas.items()})
        coverage[rows] = np.clip(list(table.values())[kind](c) / c.pixel + 0.5, 0, 1)
    return coverage[:, None]


def _background(
    u: SimpleNamespace, d: Difficulty, frequency: np.ndarray, fills: Sequence[np.ndarray]
) -> np.ndarray:
    """Draws [n, 3, 32, 32]: grey-ish, sloping, cloudy, textured if so wished."""
    ground = _between((0.15, 0.9), u.ground_value)
    for fill in fills:  # keep a distance, or half of the object would be invisible
        gap = ground - fill
        ground = np.where(abs(gap) < 0.12, fill + np.copysign(0.12, gap), ground)
    slope = _between((-0.15, 0.15), u.slope_x) * X + _between((-0.15, 0.15), u.slope_y) * Y
    image = _rgb(u.ground_hue, 0.15 * u.ground_saturation, ground) + slope[:, None]
    image += 0.104 * (u.clouds - 0.5)
    if d.background_texture:
        ones = np.ones_like(slope)
        canvas = _canvas(X * ones, Y * ones, 2 / SIDE * ones, frequency, u)
        pattern = _paint(TEXTURES, (12 * u.scenery[:, 0, 0]).astype(int), canvas)
        image += d.background_texture * (pattern - 0.5)
    return image


def _draw(labels: np.ndarray, keys: np.ndarray, d: Difficulty) -> np.ndarray:
    """Draws at most CHUNK images, uint8 [n, 3, 32, 32], of Difficulty d."""
    u = _random_numbers(keys)
    contrast = _between((0.45, 0.75), u.contrast)
    darkness = u.darkness * (1 - contrast)
    dark = _rgb(u.dark_hue, _between(d.saturation, u.dark_saturation), darkness)
    light = _rgb(u.light_hue, _between(d.saturation, u.light_saturation), darkness + contrast)

    angle = np.radians(_between((-d.rotation, d.rotation), u.rotation), dtype=np.float64)
    cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    radius, aspect = _between(d.radius, u.radius), _between((-0.2, 0.2), u.aspect)
    stretch = (2 + aspect) / (2 - aspect)  # exp(aspect), by exact steps only
    x, y = X - _between((-0.2, 0.2), u.shift_x), Y - _between((-0.2, 0.2), u.shift_y)
    x, y = (cos * x + sin * y) / radius / stretch, (cos * y - sin * x) / radius * stretch
    frequency = _between(d.frequency, u.frequency)
    canvas = _canvas(x, y, 2 / SIDE / radius, frequency, u)

    other = (labels + 1 + (11 * u.other[:, 0, 0]).astype(int)) % 12
    textures = np.where(u.swap[:, 0, 0] < d.texture_swap, other, labels)
    pattern = abs(_paint(TEXTURES, textures, canvas) - (u.order[:, None] < 0.5))
    image = _background(u, d, frequency, fills=(darkness, darkness + contrast))
    image += _paint(SILHOUETTES, labels, canvas) * (dark + pattern * (light - dark) - image)
    image += _between((0.006, 0.03), u.noise[:, None]) * u.pixel_noise
    return np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)


def draw_images(
    labels: ArrayLike,
    indices: ArrayLike,
    seed: int = 0,
    part: str = "train",
    difficulty: Difficulty | None = None,
) -> np.ndarray:
    """Draws image number indices[i] of class labels[i], for each i: uint8 [N, 3, 32, 32].

    An image depends on (seed, part, class, index) and nothing else; another difficulty redraws it
    from the same random numbers. Raises ValueError on bad input.
    """
    labels = _whole("labels", labels, most=11, ndim=1)
    indices = _whole("indices", indices, most=2**56 - 1, ndim=1)
    _require(len(indices) == len(labels), "indices", len(indices), f"one a label, {len(labels)}")
    _require(part in PER_CLASS, "part", part, " or ".join(PER_CLASS))
    _require(isinstance(difficulty, Difficulty | None), "difficulty", difficulty, "a Difficulty")
    keys = np.empty((len(labels), 2), np.uint64)
    keys[:, 0] = _whole("seed", seed, most=2**63 - 1)
    keys[:, 1] = indices + (labels << 56) + (part == "test") * 2**60
    images = np.empty((len(labels), 3, SIDE, SIDE), np.uint8)
    for start in range(0, len(labels), CHUNK):
        rows = slice(start, start + CHUNK)
        images[rows] = _draw(labels[rows], keys[rows], difficulty or Difficulty())
    return images


class Drawing:
    """The images of a part, drawn when asked for: `[index]` draws some, `np.asarray` all."""

    def __init__(self, part: str = "train", seed: int = 0) -> None:
        self.part, self.seed = part, seed
        self.labels = np.repeat(np.arange(12), PER_CLASS[part])  # class after class

    def __getitem__(self, index: ArrayLike | slice) -> np.ndarray:
        chosen: np.ndarray = np.arange(len(self.labels))[index]  # type: ignore[index]  # NumPy's own
        number = chosen % PER_CLASS[self.part]  # of the image in its class
        return draw_images(self.labels[chosen], number, self.seed, self.part)

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return self[:]


def make_shapes(
    part: str = "train", per_class: int | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draws a balanced set, class after class: images uint8 [N, 3, 32, 32], labels int64 [N].

    per_class is 1000 for part "train" and 250 for "test" unless given; a smaller set is the start
    of each class of a larger one. Raises ValueError on bad input.
    """
    size = PER_CLASS.get(part, 1) if per_class is None else per_class
    indices = np.arange(int(_whole("per_class", size, most=10**6, least=1)))
    labels = np.repeat(np.arange(12), len(indices))
    return draw_images(labels, np.tile(indices, 12), seed, part), labels
