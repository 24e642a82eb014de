// Full-batch gradient descent of a two-layer ReLU net on factor * sum_i w_i (f(x_i) - y_i)^2, many steps at a time.
//
// The step is that of the rule `gd`, in its order: the gradient is clipped to a global norm, decay is added, the rate times
// the sum is subtracted. Weights stay packed from the first step to the last.

#pragma once

#include <cmath>

#include "gates.h"

// factor: of the loss, doubled; spare: rows of the weights that decay leaves alone (1: the biases, and the offset; 0: none)
struct Rule {
  float factor, rate, clip, decay;
  int spare;
};

// By how much gradients are multiplied: 1, or what brings their norm down to `clip`. Not a number stays so, and a norm that
// overflows does what it does in the rule.
static float clipped(float square, float clip) {
  const float norm = std::sqrt(square);
  return norm < clip ? 1.0f : clip / norm;
}

// One update from G (D, width): sign is that of the weights as they are held.
static void update(int64_t rows, int64_t width, float sign, const Rule& rule, const float* G, float total, float* w, float* v,
                   float* c, float* slope) {
  float square = 0;
  std::fill(slope, slope + width, 0.0f);
  for (int64_t j = 0; j < rows; j++) {
    const float *g = G + j * width, *wj = w + j * width;
#pragma omp simd reduction(+ : square)
    for (int64_t k = 0; k < width; k++) {
      slope[k] += sign * wj[k] * g[k];  // d loss / d v
      square += (v[k] * g[k]) * (v[k] * g[k]);
    }
  }
#pragma omp simd reduction(+ : square)
  for (int64_t k = 0; k < width; k++) square += slope[k] * slope[k];
  const float scale = clipped(square + total * total, rule.clip);
  for (int64_t j = 0; j < rows; j++) {
    const float *g = G + j * width, decay = j < rule.spare ? 0.0f : rule.decay;
    float* wj = w + j * width;
#pragma omp simd
    for (int64_t k = 0; k < width; k++) wj[k] -= rule.rate * (sign * scale * v[k] * g[k] + decay * wj[k]);
  }
#pragma omp simd
  for (int64_t k = 0; k < width; k++) v[k] -= rule.rate * (scale * slope[k] + rule.decay * v[k]);
  *c -= rule.rate * (scale * total + (rule.spare ? 0.0f : rule.decay) * *c);
}

// r_i = factor w_i (s_i + c - y_i), and their sum.
static float residuals(int64_t n, float factor, float c, const float* s, const float* y, const float* weights, float* r) {
  float total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t i = 0; i < n; i++) {
    r[i] = factor * weights[i] * (s[i] + c - y[i]);
    total += r[i];
  }
  return total;
}

template <int D>
static void descend(int64_t n, int64_t K, int64_t threads, int64_t steps, const Rule& rule, const float* x, const float* y,
                    const float* weights, float* hidden, float* readout, float* c) {
  const int64_t full = up(n, WORD), width = up(K, PAIR);
  thread_local std::vector<float> held;
  held.resize((2 * D + 2) * width + full * (D + 2) + full / WORD * width + 16);
  float* w = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(held.data()) + 63) & ~uintptr_t{63});
  float *G = w + D * width, *v = G + D * width, *slope = v + width, *rows = slope + width, *s = rows + full * D, *r = s + full;
  uint32_t* bits = reinterpret_cast<uint32_t*>(r + full);
  pack(hidden, D, K, width, w);
  negate(D * width, w);
  pack(readout, 1, K, width, v);
  pack_rows(x, n, full, D, rows);
  std::fill(r, r + full, 0.0f);
  for (int64_t step = 0; step < steps; step++) {
    share(full, WORD, threads, [=](int64_t from, int64_t to) { gates_of<D>(from, to, full, width, rows, w, v, s, bits); });
    const float total = residuals(n, rule.factor, *c, s, y, weights, r);
    share(width, PAIR, threads, [=](int64_t k0, int64_t k1) { moments_of<D>(k0, k1, full, width, rows, bits, r, G); });
    update(D, width, -1, rule, G, total, w, v, c, slope);
  }
  negate(D * width, w);
  for (int j = 0; j < D; j++) std::copy(w + j * width, w + j * width + K, hidden + j * K);
  std::copy(v, v + K, readout);
}

static void descend_line(int64_t n, int64_t K, int64_t steps, const Rule& rule, const float* x, const float* y,
                         const float* weights, float* hidden, float* readout, float* c) {
  thread_local std::vector<float> held;
  thread_local std::vector<uint32_t> position;
  held.resize(5 * K + 2 * n);
  position.resize(K);
  float *G = held.data(), *u = G + 2 * K, *slope = u + 2 * K, *s = slope + K, *r = s + n;
  for (int64_t step = 0; step < steps; step++) {
    line_gates(n, K, x, hidden, position.data());
    for (int64_t k = 0; k < K; k++) u[k] = readout[k] * hidden[k], u[K + k] = readout[k] * hidden[K + k];
    line_sums(n, K, x, position.data(), u, s);
    const float total = residuals(n, rule.factor, *c, s, y, weights, r);
    line_moments(n, K, x, position.data(), r, G);
    update(2, K, 1, rule, G, total, hidden, readout, c, slope);
  }
}
