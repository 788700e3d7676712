"""The memorization explorer: one sample's image, loss history, score, and the views it got.

The same front end is a live widget in JupyterLab (`Explorer`) and one page without a network
(`export_html`). Both show recorded momentum losses; nothing is trained or estimated here.
docs/explorer.md says how to read the panels.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "history": ["History", "from_arrays", "open_run"],
        "page": ["export_html"],
        "payload": ["payload"],
        "truth": ["memorization_of"],
        "widget": ["Explorer"],
    },
)
