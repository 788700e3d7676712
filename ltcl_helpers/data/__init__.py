"""Images by name, and which of them a run learns from; NumPy only, so that bad input fails fast."""

from . import downloads, shapes, splits
from .images import ImageArrays, ImageSet, file_names, load_images, read_arrays

__all__ = [
    "ImageArrays",
    "ImageSet",
    "downloads",
    "file_names",
    "load_images",
    "read_arrays",
    "shapes",
    "splits",
]
