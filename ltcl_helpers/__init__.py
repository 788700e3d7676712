"""Helpers of the long-tail contrastive learning lessons; import the module you need."""

__version__ = "0.1.0"
