"""Views of a run in slow plain steps, image by image, part of `slow_reference`."""

import colorsys
import math

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

LUMINANCE = np.array([0.299, 0.587, 0.114])


def cubic(distance):
    """Keys' kernel, a = -1/2."""
    d = abs(distance)
    if d < 1:
        return 1.5 * d**3 - 2.5 * d**2 + 1
    return -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2 if d < 2 else 0.0


def stretch(x, start, length):
    """Bicubic resize of x[..., start : start + length] to the axis' full size, clipped."""
    size, out = x.shape[-1], []
    for o in range(size):
        centre = start + (o + 0.5) * length / size - 0.5
        weights = np.array([cubic(p - centre) for p in range(start, start + length)])
        out.append(x[..., start : start + length] @ weights / weights.sum())
    return np.clip(np.stack(out, -1), 0, 1)


def crop_box(areas, ratios, place, size):
    """RandomResizedCrop of a square image: area 0.1 to 1, ratio 3/4 to 4/3, ten attempts."""
    for area, ratio in zip(areas, ratios, strict=True):
        pixels = size * size * (0.1 + 0.9 * area)
        ratio = math.exp(math.log(3 / 4) + ratio * (math.log(4 / 3) - math.log(3 / 4)))
        height, width = round(math.sqrt(pixels / ratio)), round(math.sqrt(pixels * ratio))
        if 0 < height <= size and 0 < width <= size:
            top, left = (int(p * (size - s + 1)) for p, s in zip(place, (height, width)))  # noqa: B905
            return top, left, height, width
    return 0, 0, size, size


def shift_hue(x, turns):
    out = np.empty_like(x)
    for row in range(x.shape[1]):
        for column in range(x.shape[2]):
            hue, saturation, value = colorsys.rgb_to_hsv(*x[:, row, column])
            out[:, row, column] = colorsys.hsv_to_rgb((hue + turns) % 1, saturation, value)
    return out


def gray_of(x):
    return np.broadcast_to(np.tensordot(LUMINANCE, x, 1), x.shape)


def simclr_view(image, uniform):
    """One view [3, H, W] of a uint8 image from its 33 uniform numbers."""
    areas, ratios, place, chance, reach, order = np.split(uniform, np.cumsum([10, 10, 2, 3, 4]))
    x = image / 255
    top, left, height, width = crop_box(areas, ratios, place, x.shape[1])
    x = stretch(x, left, width)
    x = stretch(x.transpose(0, 2, 1), top, height).transpose(0, 2, 1)
    if chance[0] < 0.5:
        x = x[..., ::-1]
    if chance[1] < 0.8:
        brightness, contrast, saturation = 1 + 0.4 * (2 * reach[:3] - 1)
        for operation in np.argsort(order):
            if operation == 0:
                x = np.clip(brightness * x, 0, 1)
            elif operation == 1:
                x = np.clip(contrast * x + (1 - contrast) * gray_of(x).mean(), 0, 1)
            elif operation == 2:
                x = np.clip(saturation * x + (1 - saturation) * gray_of(x), 0, 1)
            else:
                x = shift_hue(x, 0.1 * (2 * reach[3] - 1))
    return gray_of(x) if chance[2] < 0.2 else x


def cut_out(image, value, _, centre):
    (width, height), image = image.size, image.copy()
    sides, corners = (value * width, value * height), []
    for size, side, u in zip((width, height), sides, centre, strict=True):
        start = int(max(0, size - (size - 1) * u - side / 2))
        corners.append((start, int(min(size, start + side))))
    (left, right), (top, bottom) = corners
    ImageDraw.Draw(image).rectangle((left, top, right, bottom), (125, 123, 114))
    return image


def affine(*matrix):
    """An operation of PIL's affine map; the matrix is a function of signed value and size."""
    return lambda i, v, s, _: i.transform(i.size, Image.AFFINE, [f(s * v, *i.size) for f in matrix])


def enhance(kind):
    return lambda image, value, *_: kind(image).enhance(value)


def zero(*_):
    return 0


def one(*_):
    return 1


def value(v, *_):
    return v


OPERATIONS = [  # lowest and highest value, what it does: (image, value, sign, centre) to an image
    (0, 0.6, affine(one, value, zero, zero, one, zero)),
    (0, 0.6, affine(one, zero, zero, value, one, zero)),
    (0, 0.66, affine(one, zero, lambda v, w, h: v * w, zero, one, zero)),
    (0, 0.66, affine(one, zero, zero, zero, one, lambda v, w, h: v * h)),
    (0, 60, lambda i, v, s, _: i.rotate(s * v)),
    (0, 1, lambda i, *_: ImageOps.autocontrast(i)),
    (0, 1, lambda i, *_: ImageOps.invert(i)),
    (0, 1, lambda i, *_: ImageOps.equalize(i)),
    (0, 110, lambda i, v, *_: ImageOps.solarize(i, v)),
    (4, 8, lambda i, v, *_: ImageOps.posterize(i, max(1, int(v)))),
    (0.1, 1.9, enhance(ImageEnhance.Contrast)),
    (0.1, 1.9, enhance(ImageEnhance.Color)),
    (0.1, 1.9, enhance(ImageEnhance.Brightness)),
    (0.1, 1.9, enhance(ImageEnhance.Sharpness)),
    (0, 0.4, cut_out),
]


def rand_augment(x, strength, probability, uniform):
    """k operations on a view [3, H, W], from k strengths and k times 5 uniform numbers."""
    image = None
    for force, (which, chance, sign, *centre) in zip(strength, uniform, strict=True):
        if chance < probability:
            low, high, change = OPERATIONS[int(15 * which)]
            if image is None:
                image = Image.fromarray(np.round(x * 255).astype(np.uint8).transpose(1, 2, 0))
            amount = low + force / 30 * (high - low)
            image = change(image, amount, -1 if sign < 0.5 else 1, centre)
    return x if image is None else np.asarray(image).transpose(2, 0, 1) / 255


def steering(scores, boost, draw):
    """What steers an epoch's views: the scores, or what a control makes of them."""
    if boost == "shuffled":
        return scores[torch.randperm(len(scores), generator=draw).numpy()]
    if boost == "constant":
        return np.full_like(scores, scores.mean())
    return 1 - scores if boost == "inverted" and scores.any() else scores


def make_views(images, scores, config, draw, draw_boost):
    """Both views [2, B, 3, H, W] of a batch."""
    views = []
    boosted, k = config["boost"] != "none", config["boost_k"]
    paper = config["boost_rule"] == "paper"  # a zeta for each operation of each view
    shapes = [] if not boosted else [(len(images), k)] * 2 if paper else [(len(images),)]
    zetas = [torch.rand(shape, generator=draw_boost).numpy() for shape in shapes]
    for _ in range(2):
        uniform = torch.rand(len(images), 33, generator=draw).double().numpy()
        views.append([simclr_view(i, u) for i, u in zip(images, uniform, strict=True)])
    for number, view in enumerate(views if boosted else []):
        uniform = torch.rand(len(images), k, 5, generator=draw_boost).double().numpy()
        for b, w in enumerate(scores):
            if paper:
                strength = [30 * w * z for z in zetas[number][b]]
            else:
                strength = [10 + 20 * w if k == 1 else 5 + 25 * w * zetas[0][b]] * k
            view[b] = rand_augment(view[b], strength, w, uniform[b])
    return np.array(views)
