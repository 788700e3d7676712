"""The name that `data.images` had before the rooms; scripts of that time still use it."""

from .data.images import ImageArrays, ImageSet, load_images, read_arrays

__all__ = ["ImageArrays", "ImageSet", "load_images", "read_arrays"]
