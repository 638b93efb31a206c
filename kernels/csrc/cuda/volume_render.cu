// Marching and composition on CUDA: one thread a ray.
#include "field_point.h"
#include "volume_render.h"

namespace i3d {
namespace {

constexpr int THREADS = 128;

template <class R>
__device__ March<R> march_of(const R* origins, const R* directions, const R* shifts, int64_t ray, R step, R near) {
    return begin_march(origins + ray * 3, directions + ray * 3, step, shifts ? shifts[ray] : R(0.5), near);
}

template <class R>
__global__ void march_count_kernel(const R* origins, const R* directions, const R* shifts, int64_t n, R step, R near,
                                   const uint8_t* occupancy, int side, const int32_t* limits, int64_t* counts) {
    const int64_t ray = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (ray >= n) return;
    const March<R> march = march_of(origins, directions, shifts, ray, step, near);
    const int64_t limit = limits ? limits[ray] : INT64_MAX;
    R position[3];
    int64_t count = 0;
    for (int64_t k = 0; count < limit && (k = next_sample(march, occupancy, side, k, position)) >= 0; ++k) ++count;
    counts[ray] = count;
}

template <class R>
__global__ void march_fill_kernel(const R* origins, const R* directions, const R* shifts, int64_t n, R step, R near,
                                  const uint8_t* occupancy, int side, const int64_t* offsets, R* times, R* positions) {
    const int64_t ray = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (ray >= n) return;
    const March<R> march = march_of(origins, directions, shifts, ray, step, near);
    int64_t k = 0;
    for (int64_t i = offsets[ray]; i < offsets[ray + 1]; ++i, ++k) {
        k = next_sample(march, occupancy, side, k, positions + i * 3);
        times[i] = march.time(k);
    }
}

template <class R>
struct Shown {
    R density, color[3], weight;
};

template <class R>
__device__ Shown<R> shown(const R* raw, R step, R transmittance) {
    Shown<R> out;
    out.density = exp(smaller(raw[0], R(RAW_MAX)));
    for (int c = 0; c < 3; ++c) out.color[c] = 1 / (1 + exp(-raw[1 + c]));
    out.weight = -expm1(-out.density * step) * transmittance;
    return out;
}

template <class R>
__global__ void composite_forward_kernel(const R* raw, const R* times, const int64_t* offsets, int64_t n, R step, R stop,
                                         R* color, R* alpha, R* depth, R* weights) {
    const int64_t ray = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (ray >= n) return;
    R transmittance = 1, sum[4] = {0, 0, 0, 0};
    for (int64_t i = offsets[ray]; i < offsets[ray + 1]; ++i) {
        weights[i] = 0;
        if (transmittance <= stop) continue;
        const Shown<R> s = shown(raw + i * CUDA_OUTPUTS, step, transmittance);
        weights[i] = s.weight;
        for (int c = 0; c < 3; ++c) sum[c] += s.weight * s.color[c];
        sum[3] += s.weight * times[i];
        transmittance -= s.weight;
    }
    for (int c = 0; c < 3; ++c) color[ray * 3 + c] = sum[c];
    alpha[ray] = 1 - transmittance;
    depth[ray] = sum[3];
}

template <class R>
__global__ void composite_backward_kernel(const R* raw, const R* times, const int64_t* offsets, int64_t n, R step,
                                          R stop, const R* grad_color, const R* grad_alpha, const R* grad_depth,
                                          R* grad_raw) {
    const int64_t ray = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (ray >= n) return;
    R gc[3] = {0, 0, 0};
    if (grad_color)
        for (int c = 0; c < 3; ++c) gc[c] = grad_color[ray * 3 + c];
    const R ga = grad_alpha ? grad_alpha[ray] : R(0), gd = grad_depth ? grad_depth[ray] : R(0);
    R total = 0;
    // What all samples give together first, so that what lies behind a sample is the rest of a running sum.
    for (int pass = 0; pass < 2; ++pass) {
        R transmittance = 1;
        for (int64_t i = offsets[ray]; i < offsets[ray + 1]; ++i) {
            R* g = grad_raw + i * CUDA_OUTPUTS;
            if (transmittance <= stop) {
                if (pass)
                    for (int c = 0; c < CUDA_OUTPUTS; ++c) g[c] = 0;
                continue;
            }
            const Shown<R> s = shown(raw + i * CUDA_OUTPUTS, step, transmittance);
            const R value = gc[0] * s.color[0] + gc[1] * s.color[1] + gc[2] * s.color[2] + ga + gd * times[i];
            transmittance -= s.weight;
            if (pass == 0) {
                total += s.weight * value;
                continue;
            }
            total -= s.weight * value;
            g[0] = raw[i * CUDA_OUTPUTS] < R(RAW_MAX) ? step * s.density * (value * transmittance - total) : R(0);
            for (int c = 0; c < 3; ++c) g[1 + c] = s.weight * gc[c] * s.color[c] * (1 - s.color[c]);
        }
    }
}

}  // namespace

template <class R>
void march_count_cuda(const R* origins, const R* directions, const R* shifts, int64_t n, R step, R near,
                      const uint8_t* occupancy, int side, const int32_t* limits, int64_t* counts, cudaStream_t stream) {
    if (n)
        march_count_kernel<<<blocks_of(n, THREADS), THREADS, 0, stream>>>(origins, directions, shifts, n, step, near, occupancy, side,
                                                              limits, counts);
}

template <class R>
void march_fill_cuda(const R* origins, const R* directions, const R* shifts, int64_t n, R step, R near,
                     const uint8_t* occupancy, int side, const int64_t* offsets, R* times, R* positions,
                     cudaStream_t stream) {
    if (n)
        march_fill_kernel<<<blocks_of(n, THREADS), THREADS, 0, stream>>>(origins, directions, shifts, n, step, near, occupancy, side,
                                                             offsets, times, positions);
}

template <class R>
void composite_forward_cuda(const R* raw, const R* times, const int64_t* offsets, int64_t n, R step, R stop, R* color,
                            R* alpha, R* depth, R* weights, cudaStream_t stream) {
    if (n)
        composite_forward_kernel<<<blocks_of(n, THREADS), THREADS, 0, stream>>>(raw, times, offsets, n, step, stop, color, alpha, depth,
                                                                    weights);
}

template <class R>
void composite_backward_cuda(const R* raw, const R* times, const int64_t* offsets, int64_t n, R step, R stop,
                             const R* grad_color, const R* grad_alpha, const R* grad_depth, R* grad_raw,
                             cudaStream_t stream) {
    if (n)
        composite_backward_kernel<<<blocks_of(n, THREADS), THREADS, 0, stream>>>(raw, times, offsets, n, step, stop, grad_color,
                                                                     grad_alpha, grad_depth, grad_raw);
}

#define I3D_INSTANTIATE(R)                                                                                             \
    template void march_count_cuda<R>(const R*, const R*, const R*, int64_t, R, R, const uint8_t*, int, const int32_t*,  \
                                      int64_t*, cudaStream_t);                                                         \
    template void march_fill_cuda<R>(const R*, const R*, const R*, int64_t, R, R, const uint8_t*, int, const int64_t*, \
                                     R*, R*, cudaStream_t);                                                            \
    template void composite_forward_cuda<R>(const R*, const R*, const int64_t*, int64_t, R, R, R*, R*, R*, R*,         \
                                            cudaStream_t);                                                             \
    template void composite_backward_cuda<R>(const R*, const R*, const int64_t*, int64_t, R, R, const R*, const R*,    \
                                             const R*, R*, cudaStream_t);
I3D_INSTANTIATE(float)
I3D_INSTANTIATE(double)

}  // namespace i3d
