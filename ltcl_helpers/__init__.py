"""Helpers of the long-tail contrastive learning lessons; import the room you need.

This one comes before torch: its threads, where they wait, leave the cores to others.
"""

import os

__version__ = "0.3.0"

if os.environ.setdefault("OMP_WAIT_POLICY", "passive").lower() == "passive":
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # not at all costs a tenth on an idle machine
