// Fused passes over a layer of ReLU gates on one CPU core: which neurons are on for which samples, and sums over those.
//
//   gates    s_i = sum_k v_k relu(w_k . x_i), and the gates 1{w_k . x_i > 0}, one bit each
//   moments  G_k = sum_i 1_ik r_i x_i         (D, K)
//   sums     s_i = sum_k 1_ik (u_k . x_i)     (n,)
//
// Everything squared loss asks of a two-layer net is made of these three: gradient, Hessian and Gauss-Newton products.
// Inputs are rows (n, D) whose entry 0 is 1, weights (D, K) whose row 0 is the bias. The (n, K) array of pre-activations never
// leaves the registers; what is kept of it is the gates, 1/32 of its size. Neurons lie on the vector's lanes.
//
// `moments` adds several samples with one instruction: the gates of GROUP samples are an index into the 2^GROUP sums of
// subsets of r_i x_i, a table that fits one register and is looked up by a permutation.
//
// With D = 2 (one input) and sorted samples a gate is a position: `line_*`, O((n + K) log n).

#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "workers.h"

#if defined(__AVX512F__) && defined(__AVX512DQ__)
constexpr int LANES = 16, GROUP = 4;  // 2^GROUP = LANES
using Floats = __m512;
using Ints = __m512i;
static inline Floats zeros() { return _mm512_setzero_ps(); }
static inline Floats spread(float a) { return _mm512_set1_ps(a); }
static inline Floats load(const float* p) { return _mm512_loadu_ps(p); }
static inline Ints load(const uint32_t* p) { return _mm512_loadu_si512(p); }
static inline void store(float* p, Floats a) { _mm512_storeu_ps(p, a); }
static inline void store(uint32_t* p, Ints a) { _mm512_storeu_si512(p, a); }
static inline Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
static inline Ints add(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
static inline Floats fma(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
static inline Floats minus_product(Floats a, Floats b, Floats c) { return _mm512_fnmadd_ps(a, b, c); }
static inline Floats at_most_zero(Floats a) { return _mm512_min_ps(zeros(), a); }  // NaN stays NaN
static inline Ints left(Ints a, int by) { return _mm512_sll_epi32(a, _mm_cvtsi32_si128(by)); }
static inline Ints turn(Ints a) { return _mm512_rol_epi32(a, GROUP); }  // the top GROUP bits to the bottom
static inline Floats look_up(Floats table, Ints index) { return _mm512_permutexvar_ps(index, table); }
static inline Floats add_where_negative(Floats a, Ints sign, Floats b) {
  return _mm512_mask_add_ps(a, _mm512_movepi32_mask(sign), a, b);
}
static inline float total(Floats a) { return _mm512_reduce_add_ps(a); }
using Mask = __mmask16;
static inline Mask positive(Floats a) { return _mm512_cmp_ps_mask(a, zeros(), _CMP_GT_OQ); }
static inline Mask differ(Mask a, Mask b) { return a ^ b; }
static inline Ints spread(int a) { return _mm512_set1_epi32(a); }
static inline Ints add_where(Mask where, Ints a, Ints b) { return _mm512_mask_add_epi32(a, where, a, b); }
static inline Ints choose(Mask first, Ints a, Ints b) { return _mm512_mask_blend_epi32(first, b, a); }
static inline Floats gather(const float* p, Ints at) { return _mm512_i32gather_ps(at, p, 4); }
static inline Ints push_sign(Ints bits, Floats a) {
#if defined(__AVX512VBMI2__)
  return _mm512_shldi_epi32(bits, _mm512_castps_si512(a), 1);
#else
  return _mm512_or_si512(_mm512_slli_epi32(bits, 1), _mm512_srli_epi32(_mm512_castps_si512(a), 31));
#endif
}
#elif defined(__AVX2__) && defined(__FMA__)
constexpr int LANES = 8, GROUP = 3;
using Floats = __m256;
using Ints = __m256i;
static inline Floats zeros() { return _mm256_setzero_ps(); }
static inline Floats spread(float a) { return _mm256_set1_ps(a); }
static inline Floats load(const float* p) { return _mm256_loadu_ps(p); }
static inline Ints load(const uint32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const Ints*>(p)); }
static inline void store(float* p, Floats a) { _mm256_storeu_ps(p, a); }
static inline void store(uint32_t* p, Ints a) { _mm256_storeu_si256(reinterpret_cast<Ints*>(p), a); }
static inline Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
static inline Ints add(Ints a, Ints b) { return _mm256_add_epi32(a, b); }
static inline Floats fma(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
static inline Floats minus_product(Floats a, Floats b, Floats c) { return _mm256_fnmadd_ps(a, b, c); }
static inline Floats at_most_zero(Floats a) { return _mm256_min_ps(zeros(), a); }  // NaN stays NaN
static inline Ints left(Ints a, int by) { return _mm256_sll_epi32(a, _mm_cvtsi32_si128(by)); }
static inline Ints turn(Ints a) { return _mm256_or_si256(_mm256_slli_epi32(a, GROUP), _mm256_srli_epi32(a, 32 - GROUP)); }
static inline Floats look_up(Floats table, Ints index) { return _mm256_permutevar8x32_ps(table, index); }
static inline Floats add_where_negative(Floats a, Ints sign, Floats b) {
  return add(a, _mm256_and_ps(b, _mm256_castsi256_ps(_mm256_srai_epi32(sign, 31))));
}
using Mask = Ints;
static inline Mask positive(Floats a) { return _mm256_castps_si256(_mm256_cmp_ps(a, zeros(), _CMP_GT_OQ)); }
static inline Mask differ(Mask a, Mask b) { return _mm256_xor_si256(a, b); }
static inline Ints spread(int a) { return _mm256_set1_epi32(a); }
static inline Ints add_where(Mask where, Ints a, Ints b) { return _mm256_add_epi32(a, _mm256_and_si256(where, b)); }
static inline Ints choose(Mask first, Ints a, Ints b) { return _mm256_blendv_epi8(b, a, first); }
static inline Floats gather(const float* p, Ints at) { return _mm256_i32gather_ps(p, at, 4); }
static inline float total(Floats a) {
  __m128 h = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  h = _mm_add_ps(h, _mm_movehl_ps(h, h));
  return _mm_cvtss_f32(_mm_add_ss(h, _mm_movehdup_ps(h)));
}
static inline Ints push_sign(Ints bits, Floats a) {
  return _mm256_or_si256(_mm256_slli_epi32(bits, 1), _mm256_srli_epi32(_mm256_castps_si256(a), 31));
}
#else
#error "needs AVX2 and FMA"
#endif

#define SHARED __attribute__((noinline))  // the compiler takes long enough over one copy

constexpr int ROWS = 8;          // samples taken at once
constexpr int WORD = 8 * GROUP;  // gates in a 32-bit word, the first one on top
constexpr int PAIR = 2 * LANES;
constexpr int64_t TILE = 8 * WORD;  // samples whose tables are kept at once

// (D, K) -> (D, width), filled up with zeros.
static void pack(const float* from, int64_t rows, int64_t K, int64_t width, float* to) {
  for (int64_t j = 0; j < rows; j++) {
    std::copy(from + j * K, from + (j + 1) * K, to + j * width);
    std::fill(to + j * width + K, to + (j + 1) * width, 0.0f);
  }
}

static void pack_rows(const float* x, int64_t n, int64_t full, int64_t D, float* to) {
  std::copy(x, x + n * D, to);
  std::fill(to + n * D, to + full * D, 0.0f);
}

// s and gates of the samples [from, to), which begin with a word. w is the negative of the weights, so that a sign bit means: on.
template <int D>
SHARED static void gates_of(int64_t from, int64_t to, int64_t full, int64_t width, const float* rows, const float* w,
                            const float* v, float* s, uint32_t* bits) {
  for (int64_t i = from; i < to; i += ROWS) {
    Floats sum[ROWS];
    for (auto& a : sum) a = zeros();
    uint32_t* word = bits + i / WORD * width;
    const bool first = i % WORD == 0, last = (i + ROWS) % WORD == 0 || i + ROWS == full;
    const int rest = last ? 32 - static_cast<int>(i % WORD) - ROWS : 0;
    const float* r = rows + i * D;
    for (int64_t k = 0; k < width; k += LANES) {
      Floats weights[D];
      for (int j = 0; j < D; j++) weights[j] = load(w + j * width + k);
      const Floats vk = load(v + k);
      Ints on = first ? Ints{} : load(word + k);
#pragma GCC unroll 8
      for (int m = 0; m < ROWS; m++) {
        Floats z = weights[0];
#pragma GCC unroll 32
        for (int j = 1; j < D; j++) z = fma(weights[j], spread(r[m * D + j]), z);
        z = at_most_zero(z);
        on = push_sign(on, z);
        sum[m] = minus_product(vk, z, sum[m]);
      }
      store(word + k, left(on, rest));
    }
    for (int m = 0; m < ROWS; m++) s[i + m] = total(sum[m]);
  }
}

// -w, and never -0, which has a sign bit.
static void negate(int64_t count, float* w) {
  for (int64_t k = 0; k < count; k++) w[k] = 0.0f - w[k];
}

template <int D>
static void gates(int64_t n, int64_t K, int64_t threads, const float* x, const float* hidden, const float* readout, float* s,
                  uint32_t* bits) {
  const int64_t full = up(n, ROWS), width = up(K, PAIR);
  float* w = scratch((D + 1) * width + full * D + full);
  float *v = w + D * width, *rows = v + width, *out = rows + full * D;
  pack(hidden, D, K, width, w);
  negate(D * width, w);
  pack(readout, 1, K, width, v);
  pack_rows(x, n, full, D, rows);
  share(full, WORD, threads, [=](int64_t from, int64_t to) { gates_of<D>(from, to, full, width, rows, w, v, out, bits); });
  std::copy(out, out + n, s);
}

// The sums of all subsets of GROUP samples' r_i x_ij, for each input coordinate j; lane l holds that of the bits of l.
template <int D>
static void tabulate(const float* rows, const float* r, int64_t groups, float* table) {
  Ints has[GROUP];  // negative in the lanes whose subset has the sample; the group's last one is the lowest bit
  for (int m = 0; m < GROUP; m++) {
    uint32_t lanes[LANES];
    for (int lane = 0; lane < LANES; lane++) lanes[lane] = (lane >> (GROUP - 1 - m) & 1u) << 31;
    has[m] = load(lanes);
  }
  for (int64_t i = 0; i < groups * GROUP; i += GROUP)
    for (int j = 0; j < D; j++, table += LANES) {
      Floats sums = zeros();
      for (int m = 0; m < GROUP; m++) sums = add_where_negative(sums, has[m], spread(r[i + m] * rows[(i + m) * D + j]));
      store(table, sums);
    }
}

// G of the neurons [k0, k1).
template <int D>
SHARED static void moments_of(int64_t k0, int64_t k1, int64_t full, int64_t width, const float* rows, const uint32_t* bits,
                       const float* r, float* G) {
  constexpr int V = D <= 12 && LANES == 16 ? 2 : 1;  // vectors of neurons at once, as many as there are registers for
  float* table = scratch(TILE / GROUP * D * LANES);
  for (int64_t from = 0; from < full; from += TILE) {
    const int64_t to = std::min(from + TILE, full);
    tabulate<D>(rows + from * D, r + from, (to - from) / GROUP, table);
    for (int64_t k = k0; k < k1; k += V * LANES) {
      Floats sum[V][D];
      for (int v = 0; v < V; v++)
        for (int j = 0; j < D; j++) sum[v][j] = from ? load(G + j * width + k + v * LANES) : zeros();
      const float* t = table;
      for (int64_t word = from / WORD; word < to / WORD; word++) {
        Ints on[V];
        for (int v = 0; v < V; v++) on[v] = load(bits + word * width + k + v * LANES);
        for (int group = 0; group < WORD / GROUP; group++, t += D * LANES) {
          for (int v = 0; v < V; v++) on[v] = turn(on[v]);
#pragma GCC unroll 32
          for (int j = 0; j < D; j++) {
            const Floats entry = load(t + j * LANES);
            for (int v = 0; v < V; v++) sum[v][j] = add(sum[v][j], look_up(entry, on[v]));
          }
        }
      }
      for (int v = 0; v < V; v++)
        for (int j = 0; j < D; j++) store(G + j * width + k + v * LANES, sum[v][j]);
    }
  }
}

template <int D>
static void moments(int64_t n, int64_t K, int64_t threads, const float* x, const uint32_t* bits, const float* r, float* out) {
  const int64_t full = up(n, WORD), width = up(K, PAIR);
  thread_local std::vector<float> held;  // `scratch` is taken by the tables
  held.resize(D * width + full * (D + 1));
  float *G = held.data(), *rows = G + D * width, *weights = rows + full * D;
  pack_rows(x, n, full, D, rows);
  pack_rows(r, n, full, 1, weights);
  share(width, PAIR, threads, [=](int64_t k0, int64_t k1) { moments_of<D>(k0, k1, full, width, rows, bits, weights, G); });
  for (int j = 0; j < D; j++) std::copy(G + j * width, G + j * width + K, out + j * K);
}

template <int D>
static void sums(int64_t n, int64_t K, int64_t threads, const float* x, const uint32_t* bits, const float* u, float* s) {
  const int64_t full = up(n, ROWS), width = up(K, PAIR);
  float* w = scratch(D * width + full * D + full);
  float *rows = w + D * width, *out = rows + full * D;
  pack(u, D, K, width, w);
  pack_rows(x, n, full, D, rows);
  share(full, WORD, threads, [=](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i += ROWS) {
      Floats sum[ROWS];
      for (auto& a : sum) a = zeros();
      const uint32_t* word = bits + i / WORD * width;
      const float* r = rows + i * D;
      for (int64_t k = 0; k < width; k += LANES) {
        Floats weights[D];
        for (int j = 0; j < D; j++) weights[j] = load(w + j * width + k);
        Ints on = left(load(word + k), i % WORD);
#pragma GCC unroll 8
        for (int m = 0; m < ROWS; m++, on = left(on, 1)) {
          Floats z = weights[0];
#pragma GCC unroll 32
          for (int j = 1; j < D; j++) z = fma(weights[j], spread(r[m * D + j]), z);
          sum[m] = add_where_negative(sum[m], on, z);
        }
      }
      for (int m = 0; m < ROWS; m++) out[i + m] = total(sum[m]);
    }
  });
  std::copy(out, out + n, s);
}

// One input, samples sorted by it. A gate is where its neuron's kink lies: the neuron is on from sample p on (coded as p) if
// its weight is positive, and on the p samples before the kink (coded as n + 1 + p) if not.
static void line_gates(int64_t n, int64_t K, const float* x, const float* hidden, uint32_t* position) {
  constexpr int V = 4;  // searches under way at once: each waits for memory at every step
  const int64_t width = up(K, V * LANES);
  int64_t room = 1;
  while (room <= n) room *= 2;
  float *sorted = scratch(room + 2 * width), *b = sorted + room, *w = b + width;
  for (int64_t i = 0; i < n; i++) sorted[i] = x[2 * i + 1];
  std::fill(sorted + n, sorted + room, std::numeric_limits<float>::infinity());
  pack(hidden, 2, K, width, b);
  uint32_t found[V * LANES];
  for (int64_t k = 0; k < width; k += V * LANES) {
    Ints low[V];
    for (auto& each : low) each = spread(0);
    for (int64_t step = room / 2; step > 0; step /= 2)  // does the kink lie behind sample low + step - 1?
#pragma GCC unroll 4
      for (int v = 0; v < V; v++) {
        const Floats bias = load(b + k + v * LANES), weight = load(w + k + v * LANES);
        const Mask on = positive(fma(weight, gather(sorted + step - 1, low[v]), bias));
        low[v] = add_where(differ(on, positive(weight)), low[v], spread(static_cast<int>(step)));
      }
    for (int v = 0; v < V; v++) {
      const Mask rising = positive(load(w + k + v * LANES));
      store(found + v * LANES, choose(rising, low[v], add(low[v], spread(static_cast<int>(n) + 1))));
    }
    std::copy(found, found + std::min<int64_t>(V * LANES, K - k), position + k);
  }
}

static void line_moments(int64_t n, int64_t K, const float* x, const uint32_t* position, const float* r, float* out) {
  float *zeroth = scratch(4 * (n + 1)), *first = zeroth + 2 * (n + 1);  // from p on; the p before
  double a = 0, b = 0;
  for (int64_t p = 0; p <= n; p++) {
    zeroth[n + 1 + p] = a, first[n + 1 + p] = b;
    if (p < n) a += r[p], b += static_cast<double>(r[p]) * x[2 * p + 1];
  }
  a = b = 0;
  for (int64_t p = n; p >= 0; p--) {
    if (p < n) a += r[p], b += static_cast<double>(r[p]) * x[2 * p + 1];
    zeroth[p] = a, first[p] = b;
  }
  for (int64_t k = 0; k < K; k++) out[k] = zeroth[position[k]], out[K + k] = first[position[k]];
}

static void line_sums(int64_t n, int64_t K, const float* x, const uint32_t* position, const float* u, float* s) {
  thread_local std::vector<double> bins;
  bins.assign(4 * (n + 1), 0.0);
  for (int64_t k = 0; k < K; k++) bins[2 * position[k]] += u[k], bins[2 * position[k] + 1] += u[K + k];
  double a = 0 * bins[2 * n + 2], b = 0 * bins[2 * n + 3];  // of those never on: 0, or NaN, which is to be seen
  for (int64_t i = n; i-- > 0;) {  // those before their kink
    a += bins[2 * (n + 2 + i)], b += bins[2 * (n + 2 + i) + 1];
    s[i] = a + b * x[2 * i + 1];
  }
  a = 0 * bins[2 * n], b = 0 * bins[2 * n + 1];
  for (int64_t i = 0; i < n; i++) {
    a += bins[2 * i], b += bins[2 * i + 1];
    s[i] += a + b * x[2 * i + 1];
  }
}

