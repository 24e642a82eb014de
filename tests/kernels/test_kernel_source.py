"""The kernels' source: each branch wants the features that it is guarded by and no more;
no exception leaves the library."""

from __future__ import annotations

import ctypes
import shutil
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gate_nets import BUILT, draw_layer, needs_kernels

from dynamics.kernels import build

COMPILER = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), "")
AVX2, AVX512 = ("-mavx2", "-mfma"), ("-mavx2", "-mfma", "-mavx512f")
BRANCHES = {AVX2: 8, AVX512: 8, (*AVX512, "-mavx512dq"): 16, (*AVX512, "-mavx512dq", "-mavx512vbmi2"): 16}
# All that a branch defines, so that the compiler has to find an instruction for each.
USES = """
#include "gates.h"
static_assert(LANES == {lanes}, "another branch");
void use(float* p, uint32_t* q) {{
  Floats a = fma(load(p), spread(2.0f), minus_product(load(p), zeros(), add(load(p), at_most_zero(load(p)))));
  const Ints b = add(turn(left(load(q), 1)), push_sign(spread(3), a));
  a = add_where_negative(look_up(a, b), b, gather(p, b));
  store(q, choose(differ(positive(a), positive(zeros())), b, add_where(positive(a), b, b)));
  store(p, a);
  *p = total(a);
}}
"""


@pytest.mark.skipif(not COMPILER or BUILT is None, reason="no compiler for this processor")
@pytest.mark.parametrize("features", BRANCHES)
def test_a_branch_needs_no_more_than_it_is_guarded_by(tmp_path, features):
    source = tmp_path / "use.cc"
    source.write_text(USES.format(lanes=BRANCHES[features]))
    command = [COMPILER, "-std=c++17", "-march=x86-64", *features, f"-I{build.SOURCE.parent}", "-S", "-o", "-", str(source)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr.splitlines()[:3]


STARVED = """
#include <cstdlib>
#include <new>
static int starved = 0;                                   // 1: all threads, 2: all but the one that asks
static thread_local bool asks = false;
extern "C" void starve(int whom) { starved = whom, asks = true; }
void* operator new(std::size_t size) {
  void* found = size > 2048 && (starved == 1 || (starved == 2 && !asks)) ? nullptr : std::malloc(size);
  if (!found) throw std::bad_alloc();
  return found;
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
"""


@needs_kernels
def test_memory_that_runs_out_in_a_kernel_is_an_error_and_not_the_end_of_the_process(anew):
    """In the thread that was called and in one that it started; after that the kernel works as before."""
    (anew / "starved.h").write_text(STARVED)
    flags = [flag for flag in build.FLAGS if not flag.startswith("-O")]
    library = ctypes.CDLL(str(build.build_library((*flags, "-O0", "-DDYNAMICS_MOST=3", f"-include{anew / 'starved.h'}"))))
    jax.ffi.register_ffi_target("starved_moments", jax.ffi.pycapsule(library.dynamics_moments), platform="cpu")
    layer = draw_layer(np.random.default_rng(0), 64, 512, 3)
    bits = jnp.zeros((64 // library.dynamics_word() + 1, 512), jnp.uint32)
    shape = jax.ShapeDtypeStruct((3, 512), jnp.float32)
    call = jax.jit(lambda r: jax.ffi.ffi_call("starved_moments", shape)(layer.x, bits, r, threads=np.int64(2)))
    for whom in (1, 2):
        library.starve(whom)
        with pytest.raises(jax.errors.JaxRuntimeError, match=r"RESOURCE_EXHAUSTED.*CPU kernel"):
            jax.block_until_ready(call(layer.r))
    library.starve(0)
    assert not np.asarray(call(layer.r)).any()  # all gates are closed
