"""Whole runs by the gate kernels against numpy in 64 bits, and without them."""

from __future__ import annotations

import numpy as np
import pytest
from gate_nets import RUNS, STEPS, close, decays, descended, descended_by_kernels, flat, gradient_of, needs_kernels, refusal
from oracles import change, steps_of_rule


@needs_kernels
@pytest.mark.parametrize("name", RUNS)
def test_a_hundred_steps_are_those_of_numpy_in_64_bits(name):
    spec = RUNS[name]
    x, y, begin, end = descended_by_kernels(name)
    begin, end, mask = flat(begin), flat(end), decays(spec)
    sizes = []

    def gradient(p):
        g = gradient_of(spec, x, y, p)
        sizes.append(np.linalg.norm(g))
        return g

    def path(**values):
        return steps_of_rule(spec.optimizer.kind, change(spec.optimizer, **values), begin, gradient, mask, STEPS)[-1]

    exact = path()
    assert min(sizes) < spec.optimizer.clip_norm < max(sizes)  # the clip was on at some steps and off at others
    close(end, exact)
    close(exact, exact)
    for wrong in ({"learning_rate": 0.0501}, {"weight_decay": 0.101}, {"clip_norm": 0.801}):
        with pytest.raises(AssertionError):
            close(path(**wrong), exact)
    with pytest.raises(AssertionError):
        close(steps_of_rule(spec.optimizer.kind, spec.optimizer, begin, gradient, mask, STEPS - 1)[-1], exact)


@needs_kernels
def test_without_a_compiler_all_goes_on_and_the_reason_is_told(request, monkeypatch):
    with_kernels = descended_by_kernels("d = 2")[-1]
    monkeypatch.setenv("PATH", str(request.getfixturevalue("anew")))
    monkeypatch.delenv("CXX", raising=False)
    refusal("no C++ compiler (set CXX)")
    close(flat(descended(RUNS["d = 2"])[-1]), flat(with_kernels))
