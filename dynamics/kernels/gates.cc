// The doors of the library: XLA calls the kernels through these.

#include <exception>
#include <new>

#include "xla/ffi/api/ffi.h"

#include "descend.h"
#include "gates.h"

namespace ffi = xla::ffi;

// Float32 arrays with any number of leading ensemble axes; D chooses the instance.
using F32 = ffi::Buffer<ffi::F32>;
using U32 = ffi::Buffer<ffi::U32>;
using S32 = ffi::Buffer<ffi::S32>;
template <typename Buffer>
using Out = ffi::Result<Buffer>;

#ifndef DYNAMICS_MOST
#define DYNAMICS_MOST 17
#endif
constexpr int MOST = DYNAMICS_MOST;
// Of the passes alone, without `descend`: as many weights as the processor has registers, beyond which they are no quicker than
// products.
constexpr int WIDEST = LANES == 16 ? 33 : MOST;

template <typename Buffer>
static int64_t axis(const Buffer& buffer, int from_end) {
  const auto shape = buffer.dimensions();
  return shape[shape.size() - from_end];
}

static int64_t ensemble(const F32& rows) {
  int64_t members = 1;
  for (size_t i = 0; i + 2 < rows.dimensions().size(); i++) members *= rows.dimensions()[i];
  return members;
}

// Runs Kernel<D> for the D there is.
template <template <int> class Kernel, int UpTo = WIDEST, int D = 2, typename... Arguments>
static ffi::Error choose(int64_t inputs, Arguments... arguments) {
  if constexpr (D <= UpTo) {
    if (inputs == D) return Kernel<D>::run(arguments...), ffi::Error::Success();
    return choose<Kernel, UpTo, D + 1>(inputs, arguments...);
  } else {
    return ffi::Error::InvalidArgument("gates: more inputs than the kernels are built for");
  }
}

template <int D>
struct Gates {
  static void run(int64_t threads, F32 x, F32 hidden, F32 readout, Out<F32> s, Out<U32> bits) {
    const int64_t n = axis(x, 2), K = axis(hidden, 1), members = ensemble(x);
    for (int64_t i = 0; i < members; i++)
      gates<D>(n, K, threads, x.typed_data() + i * n * D, hidden.typed_data() + i * K * D, readout.typed_data() + i * K,
               s->typed_data() + i * n, bits->typed_data() + i * (bits->element_count() / members));
  }
};

template <int D>
struct Moments {
  static void run(int64_t threads, F32 x, U32 bits, F32 r, Out<F32> out) {
    const int64_t n = axis(x, 2), K = axis(*out, 1), members = ensemble(x);
    for (int64_t i = 0; i < members; i++)
      moments<D>(n, K, threads, x.typed_data() + i * n * D, bits.typed_data() + i * (bits.element_count() / members),
                 r.typed_data() + i * n, out->typed_data() + i * K * D);
  }
};

template <int D>
struct Sums {
  static void run(int64_t threads, F32 x, U32 bits, F32 u, Out<F32> s) {
    const int64_t n = axis(x, 2), K = axis(u, 1), members = ensemble(x);
    for (int64_t i = 0; i < members; i++)
      sums<D>(n, K, threads, x.typed_data() + i * n * D, bits.typed_data() + i * (bits.element_count() / members),
              u.typed_data() + i * K * D, s->typed_data() + i * n);
  }
};

static ffi::Error call_gates(int64_t threads, F32 x, F32 hidden, F32 readout, Out<F32> s, Out<U32> bits) {
  return choose<Gates>(axis(x, 1), threads, x, hidden, readout, s, bits);
}

static ffi::Error call_moments(int64_t threads, F32 x, U32 bits, F32 r, Out<F32> out) {
  return choose<Moments>(axis(x, 1), threads, x, bits, r, out);
}

static ffi::Error call_sums(int64_t threads, F32 x, U32 bits, F32 u, Out<F32> s) {
  return choose<Sums>(axis(x, 1), threads, x, bits, u, s);
}

// scalars: rate, clip, decay
template <int D>
struct Descend {
  static void run(int64_t threads, float factor, int64_t spare, F32 x, F32 hidden, F32 readout, F32 offset, F32 y, F32 weights,
                  F32 scalars, S32 steps, Out<F32> hidden_out, Out<F32> readout_out, Out<F32> offset_out) {
    const int64_t n = axis(x, 2), K = axis(hidden, 1), members = ensemble(x);
    std::copy(hidden.typed_data(), hidden.typed_data() + members * D * K, hidden_out->typed_data());
    std::copy(readout.typed_data(), readout.typed_data() + members * K, readout_out->typed_data());
    std::copy(offset.typed_data(), offset.typed_data() + members, offset_out->typed_data());
    for (int64_t i = 0; i < members; i++) {
      const float *xi = x.typed_data() + i * n * D, *yi = y.typed_data() + i * n, *wi = weights.typed_data() + i * n;
      const float* of = scalars.typed_data() + 3 * i;
      float *h = hidden_out->typed_data() + i * D * K, *v = readout_out->typed_data() + i * K, *c = offset_out->typed_data() + i;
      const Rule rule = {2 * factor, of[0], of[1], of[2], static_cast<int>(spare)};
      if constexpr (D == 2)
        descend_line(n, K, steps.typed_data()[i], rule, xi, yi, wi, h, v, c);
      else
        descend<D>(n, K, threads, steps.typed_data()[i], rule, xi, yi, wi, h, v, c);
    }
  }
};

static ffi::Error call_descend(int64_t threads, float factor, int64_t spare, F32 x, F32 hidden, F32 readout, F32 offset, F32 y,
                               F32 weights, F32 scalars, S32 steps, Out<F32> hidden_out, Out<F32> readout_out,
                               Out<F32> offset_out) {
  return choose<Descend, MOST>(axis(x, 1), threads, factor, spare, x, hidden, readout, offset, y, weights, scalars, steps, hidden_out,
                         readout_out, offset_out);
}

static ffi::Error call_line_gates(F32 x, F32 hidden, Out<U32> position) {
  const int64_t n = axis(x, 2), K = axis(hidden, 1), members = ensemble(x);
  for (int64_t i = 0; i < members; i++)
    line_gates(n, K, x.typed_data() + 2 * i * n, hidden.typed_data() + 2 * i * K, position->typed_data() + i * K);
  return ffi::Error::Success();
}

static ffi::Error call_line_moments(F32 x, U32 position, F32 r, Out<F32> out) {
  const int64_t n = axis(x, 2), K = axis(position, 1), members = ensemble(x);
  for (int64_t i = 0; i < members; i++)
    line_moments(n, K, x.typed_data() + 2 * i * n, position.typed_data() + i * K, r.typed_data() + i * n,
                 out->typed_data() + 2 * i * K);
  return ffi::Error::Success();
}

static ffi::Error call_line_sums(F32 x, U32 position, F32 u, Out<F32> s) {
  const int64_t n = axis(x, 2), K = axis(position, 1), members = ensemble(x);
  for (int64_t i = 0; i < members; i++)
    line_sums(n, K, x.typed_data() + 2 * i * n, position.typed_data() + i * K, u.typed_data() + 2 * i * K, s->typed_data() + i * n);
  return ffi::Error::Success();
}

// Calls Function and returns what it throws as an error: an exception that left the library would end the process.
template <auto Function>
struct Guarded;
template <typename... Arguments, ffi::Error (*Function)(Arguments...)>
struct Guarded<Function> {
  static ffi::Error call(Arguments... arguments) {
    try {
      return Function(arguments...);
    } catch (const std::bad_alloc&) {
      return ffi::Error(ffi::ErrorCode::kResourceExhausted, "no memory for the scratch of a CPU kernel");
    } catch (const std::exception& error) {
      return ffi::Error::Internal(error.what());
    }
  }
};

#define DOOR(name, function, binding) XLA_FFI_DEFINE_HANDLER_SYMBOL(name, Guarded<&function>::call, ffi::Ffi::Bind()binding)
DOOR(dynamics_gates, call_gates, .Attr<int64_t>("threads").Arg<F32>().Arg<F32>().Arg<F32>().Ret<F32>().Ret<U32>());
DOOR(dynamics_moments, call_moments, .Attr<int64_t>("threads").Arg<F32>().Arg<U32>().Arg<F32>().Ret<F32>());
DOOR(dynamics_sums, call_sums, .Attr<int64_t>("threads").Arg<F32>().Arg<U32>().Arg<F32>().Ret<F32>());
DOOR(dynamics_descend, call_descend,
     .Attr<int64_t>("threads")
         .Attr<float>("factor")
         .Attr<int64_t>("spare")
         .Arg<F32>()
         .Arg<F32>()
         .Arg<F32>()
         .Arg<F32>()
         .Arg<F32>()
         .Arg<F32>()
         .Arg<F32>()
         .Arg<S32>()
         .Ret<F32>()
         .Ret<F32>()
         .Ret<F32>());
DOOR(dynamics_line_gates, call_line_gates, .Arg<F32>().Arg<F32>().Ret<U32>());
DOOR(dynamics_line_moments, call_line_moments, .Arg<F32>().Arg<U32>().Arg<F32>().Ret<F32>());
DOOR(dynamics_line_sums, call_line_sums, .Arg<F32>().Arg<U32>().Arg<F32>().Ret<F32>());

extern "C" int dynamics_word() { return WORD; }    // samples in a word of gates
extern "C" int dynamics_pair() { return PAIR; }    // what the number of neurons is rounded up to
extern "C" int dynamics_most() { return MOST; }    // inputs, the constant one included
extern "C" int dynamics_widest() { return WIDEST; }  // the same of the passes without `descend`
