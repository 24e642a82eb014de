// Work shared over threads, and their scratch memory.

#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

static int64_t up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// Scratch of this thread: grows, is never given back.
static float* scratch(size_t count) {
  thread_local std::vector<float> held;
  if (held.size() < count + 16) held.resize(count + 16);
  return reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(held.data()) + 63) & ~uintptr_t{63});
}

// f(from, to) over [0, count), cut at multiples of `unit` for so many threads. Sums are never shared, so no number changes.
// What f throws in any of them is thrown here, once all have ended.
template <typename F>
static void share(int64_t count, int64_t unit, int64_t threads, F f) {
  const int64_t each = std::max(unit, up((count + threads - 1) / threads, unit));
  if (each >= count) return f(0, count);
  std::vector<std::exception_ptr> thrown((count + each - 1) / each);
  const auto part = [&thrown, each, f](int64_t from, int64_t to) {
    try {
      f(from, to);
    } catch (...) {
      thrown[from / each] = std::current_exception();
    }
  };
  std::vector<std::thread> others;
  int64_t from = each;
  try {
    others.reserve(thrown.size());
    for (; from < count; from += each) others.emplace_back(part, from, std::min(from + each, count));
  } catch (const std::system_error&) {  // no more threads to be had
    part(from, count);
  } catch (const std::bad_alloc&) {
    part(from, count);
  }
  part(0, each);
  for (auto& other : others) other.join();
  for (const auto& failure : thrown)
    if (failure) std::rethrow_exception(failure);
}
