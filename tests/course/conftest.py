"""A class that hands in: notebooks with other answers, and one warm process that grades them."""

import copy
import json

import pytest

from ltcl_helpers import paths
from ltcl_helpers.course import editions, grading, sandbox

# So many seconds end only what hangs; an answer made to run out of its time says so.
LIMITS = grading.Limits(600, 0.5)
ENDLESS = "while True: pass"


class Short(sandbox.Sandbox):
    """Gives little time to the answer that never ends, and to the others all that they need."""

    def begin(self, cells, name, *words, **options):
        endless = any(f"def {name}(" in cell and ENDLESS in cell for cell in cells)
        self.seconds = 2 if endless else LIMITS.seconds
        return super().begin(cells, name, *words, **options)


@pytest.fixture(scope="session")
def box():
    """A warm process, which takes seconds to start."""
    found = Short(*LIMITS)
    yield found
    found.close()


@pytest.fixture
def fenced(box):
    box.guarantees()
    if not box.standing["root"]:
        pytest.skip("this system refuses namespaces")
    return box


@pytest.fixture(scope="session")
def grade(box):
    """Grade submissions in that process; the rows, by the gradebook given or a new one."""
    close = box.close

    def call(*submissions, **options):
        box.close = lambda: None
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(grading, "Sandbox", lambda *limits: box)
                return grading.grade(submissions, **options)
        finally:
            box.close = close

    return call


@pytest.fixture(scope="session")
def hand_in():
    """A student's edition with other cells for the stubs of some functions."""
    lessons = {}

    def call(lesson, answers, before=()):
        if lesson not in lessons:
            source = json.loads((paths.LESSONS / f"{lesson}.ipynb").read_bytes())
            lessons[lesson] = editions.student_edition(source)
        notebook = copy.deepcopy(lessons[lesson])
        for cell in notebook["cells"]:
            for name, answer in answers.items():
                if cell["cell_type"] == "code" and f"def {name}(" in editions.text(cell):
                    cell["source"] = answer.splitlines(keepends=True)
        first = [editions.new_cell("code", each) for each in before]
        notebook["cells"] = [*first, *notebook["cells"]]
        return notebook

    return call
