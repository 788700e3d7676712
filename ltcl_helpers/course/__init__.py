"""A course made of the lessons: editions, grading behind fences, and static pages."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "answering",
        "editions",
        "fences",
        "gradebook",
        "grading",
        "mathml",
        "sandbox",
        "site",
        "slicing",
    ],
)
