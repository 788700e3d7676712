"""The nearest-neighbour monitor against scikit-learn and a slow oracle."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from ltcl_helpers.knn import weighted_knn


def drawn(bank=300, tests=1200, classes=4):
    draw = torch.Generator().manual_seed(0)
    centres = torch.randn(classes, 8, generator=draw, dtype=torch.float64)
    labels = torch.randint(classes, (bank,), generator=draw)
    noise = torch.randn(bank + tests, 8, generator=draw, dtype=torch.float64)
    return centres[labels] + noise[:bank], labels, 3 * noise[bank:]


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.1), (20, 0.1), (200, 0.5), (1000, 0.1)])
def test_votes_equal_scikit_learns(k, temperature):
    bank, labels, features = drawn()
    theirs = KNeighborsClassifier(
        min(k, len(bank)), metric="cosine", weights=lambda d: np.exp((1 - d) / temperature)
    ).fit(bank.numpy(), labels.numpy())
    votes = weighted_knn(bank, labels, features, 4, k, temperature)
    np.testing.assert_allclose(votes, theirs.predict_proba(features.numpy()), atol=1e-9)
    assert (votes.argmax(1).numpy() == theirs.predict(features.numpy())).all()


def test_a_class_without_a_bank_image_gets_no_vote_and_bad_calls_are_refused():
    bank, labels, features = drawn(tests=3)
    votes = weighted_knn(bank, labels, features, 6)
    assert votes.shape == (3, 6) and not votes[:, 4:].any()
    torch.testing.assert_close(votes.sum(1), torch.ones(3).double())
    for wrong in (dict(k=0), dict(temperature=0.0)):
        with pytest.raises(ValueError, match="allowed"):
            weighted_knn(bank, labels, features, 4, **wrong)
