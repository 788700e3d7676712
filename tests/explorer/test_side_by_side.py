"""Two runs in one page: what may be compared, whose pictures are shown, how they are told apart."""

import numpy as np
import pytest
from explorer.small import IMAGES, boosted, small

from ltcl_helpers.errors import ConfigError
from ltcl_helpers.explorer import from_arrays
from ltcl_helpers.explorer import payload as make


def test_what_cannot_be_compared_is_refused_in_words():
    plain, other = from_arrays(np.ones((2, 3))), from_arrays(np.ones((2, 4)))
    labelled = from_arrays(np.ones((2, 3)), [0, 1, 1])
    later = from_arrays(np.ones((2, 3)), epochs=[7, 8])
    for second, said in (
        (other, "the two histories have different numbers of samples"),
        (labelled, "'momentum loss' and 'momentum loss' learned from different images; give two "
                   "runs of one data set, split and seed"),
        (later, "the two runs have no kept epoch in common"),
    ):  # fmt: skip
        with pytest.raises(ConfigError) as error:
            make(plain, second)
        assert str(error.value) == f"compare: {said}"
    meta, _, _ = make(from_arrays(np.ones((3, 3))), from_arrays(np.ones((3, 3)), epochs=[2, 3, 4]))
    assert meta["epochs"] == [2, 3] and list(meta["arrays"]) == ["labels", "loss0", "loss1"]


def test_pictures_of_another_set_are_refused_and_never_shown():
    first, second = boosted(), boosted("memory")
    second.images = IMAGES[::-1].copy()
    own = second.images
    with pytest.raises(ConfigError, match="learned from different images"):
        make(first, second)
    assert second.images is own


def test_two_runs_share_the_pictures_that_one_has():
    first, second = boosted(), boosted("memory")
    for lacking in (first, second):
        first.images = second.images = IMAGES
        lacking.images = None
        meta, _, runs = make(first, second)
        assert meta["side"] == 16 and lacking.images is None
        assert runs[0].images is IMAGES and runs[1].images is IMAGES


def test_two_runs_of_one_label_are_told_apart():
    meta, _, runs = make(small(), small())
    assert [each["label"] for each in meta["runs"]] == ["mine", "mine (2)"]
    assert [each.label for each in runs] == ["mine", "mine (2)"]
