"""What a network sees of an image: SimCLR's views, augmentations, and how a score boosts them."""

from . import autoaugment, randaugment
from .autoaugment import autoaugment_view
from .boosting import Views, boost_scores, boost_strength, make_views, strength_of
from .randaugment import rand_augment
from .share import Cut, Share
from .simclr import CIFAR, Look, apply_view, draw_crops, draw_view_parameters, simclr_view

__all__ = [
    "CIFAR",
    "Cut",
    "Look",
    "Share",
    "Views",
    "apply_view",
    "autoaugment",
    "autoaugment_view",
    "boost_scores",
    "boost_strength",
    "draw_crops",
    "draw_view_parameters",
    "make_views",
    "rand_augment",
    "randaugment",
    "simclr_view",
    "strength_of",
]
