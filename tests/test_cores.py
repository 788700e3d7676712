"""How many cores a process may use, on systems that have affinities and on one that has none."""

import os

from ltcl_helpers.cores import cores_each


def test_a_job_has_what_it_was_given_and_shares_it_out(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(7), raising=False)
    assert cores_each() == 7
    assert [cores_each(processes) for processes in (1, 2, 3, 8)] == [7, 3, 2, 1]


def test_a_system_without_affinities_has_all_its_cores(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    for known, cores in ((8, 4), (1, 1), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda known=known: known)
        assert cores_each(2) == cores
