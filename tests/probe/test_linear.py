"""Nearest neighbours against a slow oracle."""

import math

import torch

from ltcl_helpers import probe
from ltcl_helpers.probe.linear import KNN_TEMPERATURE, NEIGHBOURS, _knn


def drawn(bank, tests=60, classes=4):
    draw = torch.Generator().manual_seed(0)
    centres = torch.randn(classes, 8, generator=draw, dtype=torch.float64)
    labels = torch.randint(classes, (bank,), generator=draw)
    noise = torch.randn(bank + tests, 8, generator=draw, dtype=torch.float64)
    return centres[labels] + noise[:bank], labels, 3 * noise[bank:]


def slow_votes(bank, labels, feature, classes):
    """Shares of the votes for one feature, neighbour by neighbour."""
    cosines = [float(torch.cosine_similarity(feature, one, dim=0)) for one in bank]
    nearest = sorted(range(len(bank)), key=lambda i: -cosines[i])[:NEIGHBOURS]
    votes = torch.zeros(classes, dtype=torch.float64)
    for i in nearest:
        votes[labels[i]] += math.exp(cosines[i] / KNN_TEMPERATURE)
    return votes / votes.sum()


def test_the_nearest_200_vote_by_their_cosine_and_all_where_there_are_fewer():
    assert (NEIGHBOURS, KNN_TEMPERATURE) == (200, 0.1)  # as MoCo's demonstration on CIFAR
    for size in (300, 90):
        bank, labels, features = drawn(size)
        votes = _knn(bank, labels, features, 4, seed=0)
        expected = torch.stack([slow_votes(bank, labels, one, 4) for one in features])
        expected = expected.where(expected > 0, -torch.inf)
        torch.testing.assert_close(votes, expected, rtol=0, atol=1e-9)
        found = probe.linear_probe(bank, labels, features, expected.argmax(1), "knn")
        assert found.top1 == 1


def test_a_class_without_a_bank_image_gets_no_vote():
    bank, labels, features = drawn(50, tests=3)
    votes = _knn(bank, labels, features, 6, seed=0)
    assert votes.shape == (3, 6) and (votes[:, 4:] == -torch.inf).all()
    torch.testing.assert_close(votes.clamp(min=0).sum(1), torch.ones(3).double())
