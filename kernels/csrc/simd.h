// Numbers that a kernel's arithmetic is written for once: a plain float or double (CUDA, tails), or a whole register of
// them (CPU). Compiler vector extensions only, so that any GCC or Clang target works; what AVX does much better is
// spelled out. Knows neither torch nor the CUDA runtime.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define I3D_INLINE __host__ __device__ __forceinline__
#else
#define I3D_INLINE inline __attribute__((always_inline))
#if defined(__AVX__)
#include <immintrin.h>
#endif
#endif

namespace i3d {

// ---- scalars ---------------------------------------------------------------------------------------------------------

template <class V>
struct Traits;  // Scalar: one lane; Mask: result of a comparison; lanes

template <>
struct Traits<float> {
    using Scalar = float;
    using Mask = bool;
    static constexpr int lanes = 1;
};
template <>
struct Traits<double> {
    using Scalar = double;
    using Mask = bool;
    static constexpr int lanes = 1;
};

template <class V>
using Scalar = typename Traits<V>::Scalar;
template <class V>
using Mask = typename Traits<V>::Mask;

I3D_INLINE float choose(bool mask, float a, float b) { return mask ? a : b; }
I3D_INLINE double choose(bool mask, double a, double b) { return mask ? a : b; }
I3D_INLINE float root(float a) { return sqrtf(a); }
I3D_INLINE double root(double a) { return sqrt(a); }
I3D_INLINE float power_of_two(float a) { return exp2f(a); }
I3D_INLINE double power_of_two(double a) { return exp2(a); }
I3D_INLINE float log_two(float a) { return log2f(a); }
I3D_INLINE double log_two(double a) { return log2(a); }
I3D_INLINE bool any(bool mask) { return mask; }

template <class V>
I3D_INLINE V splat(Scalar<V> a) {
    return a - V{};  // minus zero changes nothing, so compilers drop it; plus zero would turn -0 into 0
}
// ---- registers -------------------------------------------------------------------------------------------------------

#if !defined(__CUDACC__)

#if defined(__AVX512F__)
constexpr int REGISTER_BYTES = 64;
#elif defined(__AVX__)
constexpr int REGISTER_BYTES = 32;
#else
constexpr int REGISTER_BYTES = 16;
#endif

typedef float FloatV __attribute__((vector_size(REGISTER_BYTES)));
typedef double DoubleV __attribute__((vector_size(REGISTER_BYTES)));
typedef int32_t Int32V __attribute__((vector_size(REGISTER_BYTES)));
typedef int64_t Int64V __attribute__((vector_size(REGISTER_BYTES)));

template <>
struct Traits<FloatV> {
    using Scalar = float;
    using Mask = Int32V;
    using Int = int32_t;
    static constexpr int lanes = REGISTER_BYTES / 4;
};
template <>
struct Traits<DoubleV> {
    using Scalar = double;
    using Mask = Int64V;
    using Int = int64_t;
    static constexpr int lanes = REGISTER_BYTES / 8;
};

template <class R>
struct VectorOf;
template <>
struct VectorOf<float> {
    using type = FloatV;
};
template <>
struct VectorOf<double> {
    using type = DoubleV;
};

I3D_INLINE FloatV choose(Int32V mask, FloatV a, FloatV b) { return mask ? a : b; }
I3D_INLINE DoubleV choose(Int64V mask, DoubleV a, DoubleV b) { return mask ? a : b; }

// The same registers where memory need not be aligned and may hold anything.
typedef FloatV FloatAnywhere __attribute__((aligned(4), may_alias));
typedef DoubleV DoubleAnywhere __attribute__((aligned(8), may_alias));
typedef Int32V Int32Anywhere __attribute__((aligned(4), may_alias));
typedef Int64V Int64Anywhere __attribute__((aligned(8), may_alias));

template <class V>
I3D_INLINE V load(const Scalar<V>* from);
template <>
I3D_INLINE FloatV load<FloatV>(const float* from) {
    return *reinterpret_cast<const FloatAnywhere*>(from);
}
template <>
I3D_INLINE DoubleV load<DoubleV>(const double* from) {
    return *reinterpret_cast<const DoubleAnywhere*>(from);
}
template <class V>
I3D_INLINE void store(Scalar<V>* to, V v);
template <>
I3D_INLINE void store<FloatV>(float* to, FloatV v) {
    *reinterpret_cast<FloatAnywhere*>(to) = v;
}
template <>
I3D_INLINE void store<DoubleV>(double* to, DoubleV v) {
    *reinterpret_cast<DoubleAnywhere*>(to) = v;
}
I3D_INLINE void store_whole(int32_t* to, Int32V v) { *reinterpret_cast<Int32Anywhere*>(to) = v; }
I3D_INLINE void store_whole(int64_t* to, Int64V v) { *reinterpret_cast<Int64Anywhere*>(to) = v; }
template <class V>
I3D_INLINE V iota() {
    V v{};
    for (int lane = 0; lane < Traits<V>::lanes; ++lane) v[lane] = Scalar<V>(lane);
    return v;
}

#if defined(__AVX512F__)
I3D_INLINE FloatV root(FloatV a) { return (FloatV)_mm512_sqrt_ps((__m512)a); }
I3D_INLINE DoubleV root(DoubleV a) { return (DoubleV)_mm512_sqrt_pd((__m512d)a); }
I3D_INLINE uint32_t bits(Int32V m) { return _mm512_cmplt_epi32_mask((__m512i)m, _mm512_setzero_si512()); }
I3D_INLINE uint32_t bits(Int64V m) { return _mm512_cmplt_epi64_mask((__m512i)m, _mm512_setzero_si512()); }
#elif defined(__AVX__)
I3D_INLINE FloatV root(FloatV a) { return (FloatV)_mm256_sqrt_ps((__m256)a); }
I3D_INLINE DoubleV root(DoubleV a) { return (DoubleV)_mm256_sqrt_pd((__m256d)a); }
I3D_INLINE uint32_t bits(Int32V m) { return uint32_t(_mm256_movemask_ps((__m256)m)); }
I3D_INLINE uint32_t bits(Int64V m) { return uint32_t(_mm256_movemask_pd((__m256d)m)); }
#else
template <class V>
I3D_INLINE V root_lanes(V a) {
    for (int lane = 0; lane < Traits<V>::lanes; ++lane) a[lane] = std::sqrt(a[lane]);
    return a;
}
I3D_INLINE FloatV root(FloatV a) { return root_lanes(a); }
I3D_INLINE DoubleV root(DoubleV a) { return root_lanes(a); }
template <class M>
I3D_INLINE uint32_t mask_lanes(M m) {
    uint32_t out = 0;
    for (unsigned lane = 0; lane < sizeof(M) / sizeof(m[0]); ++lane) out |= uint32_t(m[lane] != 0) << lane;
    return out;
}
I3D_INLINE uint32_t bits(Int32V m) { return mask_lanes(m); }
I3D_INLINE uint32_t bits(Int64V m) { return mask_lanes(m); }
#endif
I3D_INLINE bool any(Int32V m) { return bits(m) != 0; }
I3D_INLINE bool any(Int64V m) { return bits(m) != 0; }

// 2^a for a above -126: round to the nearest integer by adding 1.5 * 2^23, a minimax polynomial of the fraction in
// [-1/2, 1/2] (relative error 8e-8 at most, nearly all of it rounding), and the integer added to the exponent bits.
I3D_INLINE FloatV power_of_two(FloatV a) {
    const FloatV shifter = splat<FloatV>(12582912.0f);
    const FloatV shifted = a + shifter;
    const FloatV f = a - (shifted - shifter);
    FloatV p = splat<FloatV>(0.00015353362f);
    p = p * f + 0.0013398874f;
    p = p * f + 0.009618437f;
    p = p * f + 0.055503324f;
    p = p * f + 0.24022648f;
    p = p * f + 0.6931472f;
    p = p * f + 1.0f;
    return (FloatV)((Int32V)p + ((Int32V)shifted << 23));
}

// The same in double precision, for a above -1022, with the Taylor series of 2^f (its remainder is under 1e-17).
I3D_INLINE DoubleV power_of_two(DoubleV a) {
    const DoubleV shifter = splat<DoubleV>(6755399441055744.0);
    const DoubleV shifted = a + shifter;
    const DoubleV f = (a - (shifted - shifter)) * 0.69314718055994530942;
    DoubleV p = splat<DoubleV>(1.0 / 6227020800.0);
    p = p * f + 1.0 / 479001600.0;
    p = p * f + 1.0 / 39916800.0;
    p = p * f + 1.0 / 3628800.0;
    p = p * f + 1.0 / 362880.0;
    p = p * f + 1.0 / 40320.0;
    p = p * f + 1.0 / 5040.0;
    p = p * f + 1.0 / 720.0;
    p = p * f + 1.0 / 120.0;
    p = p * f + 1.0 / 24.0;
    p = p * f + 1.0 / 6.0;
    p = p * f + 0.5;
    p = p * f + 1.0;
    p = p * f + 1.0;
    return (DoubleV)((Int64V)p + ((Int64V)shifted << 52));
}

// Log2 of positive normal numbers: exponent bits plus a series in s = (m - 1) / (m + 1), |s| < 0.172.
I3D_INLINE FloatV log_two(FloatV a) {
    const Int32V raw = (Int32V)a;
    const Int32V offset = raw - 0x3f3504f3;  // bits of sqrt(1/2): the mantissa then lies in [sqrt(1/2), sqrt(2))
    const Int32V exponent = offset >> 23;
    const FloatV m = (FloatV)(raw - (exponent << 23));
    const FloatV s = (m - 1.0f) / (m + 1.0f);
    const FloatV s2 = s * s;
    FloatV p = s2 * (2.0f / 9.0f) + 2.0f / 7.0f;
    p = p * s2 + 2.0f / 5.0f;
    p = p * s2 + 2.0f / 3.0f;
    p = p * s2 + 2.0f;
    return __builtin_convertvector(exponent, FloatV) + s * p * 1.44269504088896341f;
}
I3D_INLINE DoubleV log_two(DoubleV a) {
    for (int lane = 0; lane < Traits<DoubleV>::lanes; ++lane) a[lane] = std::log2(a[lane]);
    return a;
}

// The sum over the lanes, in an order that depends on nothing.
template <class V>
I3D_INLINE Scalar<V> lane_sum(V v) {
    Scalar<V> part[Traits<V>::lanes];
    store<V>(part, v);
    for (int step = Traits<V>::lanes / 2; step > 0; step /= 2)
        for (int lane = 0; lane < step; ++lane) part[lane] += part[lane + step];
    return part[0];
}

#if defined(__AVX__)
// Four registers' sums at once: a tree of horizontal additions costs a third of four single sums.
I3D_INLINE __m128 lane_sums_of_four(const FloatV* v) {
#if defined(__AVX512F__)
    const auto half = [](FloatV a) {
        const __m512 whole = (__m512)a;
        return _mm256_add_ps(_mm512_castps512_ps256(whole),
                             _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(whole), 1)));
    };
#else
    const auto half = [](FloatV a) { return (__m256)a; };
#endif
    const __m256 sum = _mm256_hadd_ps(_mm256_hadd_ps(half(v[0]), half(v[1])), _mm256_hadd_ps(half(v[2]), half(v[3])));
    return _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps(sum, 1));
}
#endif

// out[i] = the sum over the lanes of v[i].
template <int COUNT, class V>
I3D_INLINE void lane_sums(const V* v, Scalar<V>* out) {
    int i = 0;
#if defined(__AVX__)
    if constexpr (sizeof(Scalar<V>) == 4)
        for (; i + 4 <= COUNT; i += 4) _mm_storeu_ps(out + i, lane_sums_of_four(v + i));
#endif
    for (; i < COUNT; ++i) out[i] = lane_sum<V>(v[i]);
}

#endif  // __CUDACC__

// ---- both (here, because a template finds overloads for registers only above itself) ------------------------------

template <class V>
I3D_INLINE V smaller(V a, V b) {
    return choose(a < b, a, b);
}
template <class V>
I3D_INLINE V larger(V a, V b) {
    return choose(a > b, a, b);
}
// Infinities and NaN give NaN under multiplication by zero; everything else gives zero.
template <class V>
I3D_INLINE Mask<V> is_finite(V a) {
    return a * Scalar<V>(0) == V{};
}

}  // namespace i3d
