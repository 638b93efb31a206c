// Group normalization of pictures that lie channels last, with SiLU behind it, there and back.
//
// A thread keeps to a few neighbouring channels, which it reads at once, and walks over pixels; what is a channel's own is then read once.
// Sums over pixels are added block by block in one order, so that the same numbers give the same bits. They are taken about a number of
// the group itself: of channels that lie far from zero the plain mean of squares would leave nothing.
#include "cuda/group_norm.h"

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

#include <cmath>
#include <type_traits>

namespace i3d {
namespace {

constexpr int THREADS = 256;
constexpr int SHARED = 8 * NORM_CHANNELS;  // bytes of one block's sums, of one kind
constexpr int BLOCKS = 1056;               // eight for each multiprocessor of a large card
constexpr int PIXELS = 8;                  // the least that are worth a row of a block
constexpr int LANES = 32, SLICES = 16;     // of the block that adds up what blocks have found

template <class T>
struct Wide {
    using type = float;
};
template <>
struct Wide<double> {
    using type = double;
};
template <class T>
using wide = typename Wide<T>::type;

template <class T>
struct alignas(NORM_VECTOR) Vector {
    T at[NORM_VECTOR / sizeof(T)];
};

template <class T>
constexpr int WIDTH = NORM_VECTOR / sizeof(T);
template <class R>
constexpr int CELLS = SHARED / (2 * sizeof(R));

__device__ __forceinline__ float widened(float x) { return x; }
__device__ __forceinline__ double widened(double x) { return x; }
template <class T>
__device__ __forceinline__ T narrowed(wide<T> x) {
    return T(x);
}
#ifdef __CUDACC__
__device__ __forceinline__ float widened(__half x) { return __half2float(x); }
__device__ __forceinline__ float widened(__nv_bfloat16 x) { return __bfloat162float(x); }
template <>
__device__ __forceinline__ __half narrowed<__half>(float x) {
    return __float2half_rn(x);
}
template <>
__device__ __forceinline__ __nv_bfloat16 narrowed<__nv_bfloat16>(float x) {
    return __float2bfloat16_rn(x);
}
__device__ __forceinline__ float sigmoid(float x) { return __fdividef(1.0f, 1.0f + __expf(-x)); }
#else
inline float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }
#endif
__device__ __forceinline__ double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

// A block's columns are vectors of neighbouring channels, its rows pixels; a picture's pixels are shared out among `chunks` blocks.
struct Plan {
    int columns, rows, chunks;
};

template <class T>
Plan plan_of(const NormShape& shape) {
    Plan plan;
    const int vectors = shape.channels / WIDTH<T>, rounds = (vectors + THREADS - 1) / THREADS;
    plan.columns = (vectors + rounds - 1) / rounds;
    plan.rows = THREADS / plan.columns;
    if (plan.rows > CELLS<wide<T>> / shape.channels) plan.rows = CELLS<wide<T>> / shape.channels;
    if (plan.rows < 1) plan.rows = 1;
    const int64_t most = BLOCKS / shape.batch > 1 ? BLOCKS / shape.batch : 1;
    const int64_t wanted = (shape.pixels + PIXELS * plan.rows - 1) / (PIXELS * plan.rows);
    plan.chunks = int(wanted < 1 ? 1 : wanted < most ? wanted : most);
    return plan;
}

// What a kernel knows of its picture: typed pointers to one of the batch, and the pixels that are this block's.
template <class T>
struct Here {
    using R = wide<T>;
    const T *x, *shift, *weight, *bias;
    int n, chunk, chunks, channels, groups, depth;
    int64_t begin, end, pixels;

    __device__ Here(const NormInputs& in) {
        n = blockIdx.y, chunk = blockIdx.x, chunks = gridDim.x;
        channels = in.shape.channels, groups = in.shape.groups, depth = channels / groups, pixels = in.shape.pixels;
        begin = pixels * chunk / chunks, end = pixels * (chunk + 1) / chunks;
        x = static_cast<const T*>(in.x) + n * pixels * channels;
        shift = in.shift ? static_cast<const T*>(in.shift) + int64_t(n) * channels : nullptr;
        weight = static_cast<const T*>(in.weight), bias = static_cast<const T*>(in.bias);
    }
    __device__ int64_t place(int64_t pixel, int vector) const { return pixel * channels + int64_t(vector) * WIDTH<T>; }
    __device__ R shifted(int channel) const { return shift ? widened(shift[channel]) : R(0); }
    // The number of a group about which its sums are taken.
    __device__ R origin(int group) const { return widened(x[group * depth]) + shifted(group * depth); }
};

// (x - center) * scale + bias is x normalized, weighed and moved.
template <class R>
struct Channel {
    R center, scale, bias;
};

template <class T>
__device__ __forceinline__ Channel<wide<T>> channel_of(const Here<T>& here, const wide<T>* moments, int channel) {
    const wide<T>* of_group = moments + (int64_t(here.n) * here.groups + channel / here.depth) * 2;
    return {of_group[0] - here.shifted(channel), of_group[1] * widened(here.weight[channel]), widened(here.bias[channel])};
}

// The block's sums of its rows, channel by channel in `first` and `second`, become sums of groups.
template <class T>
__device__ void hand_in(const Here<T>& here, const wide<T>* first, const wide<T>* second, wide<T>* partial) {
    __syncthreads();
    for (int g = threadIdx.y * blockDim.x + threadIdx.x; g < here.groups; g += blockDim.x * blockDim.y) {
        wide<T> a = 0, b = 0;
        for (int row = 0; row < int(blockDim.y); ++row)
            for (int c = g * here.depth; c < (g + 1) * here.depth; ++c)
                a += first[row * here.channels + c], b += second[row * here.channels + c];
        wide<T>* to = partial + ((int64_t(here.n) * here.chunks + here.chunk) * here.groups + g) * 2;
        to[0] = a, to[1] = b;
    }
}

template <class T>
__global__ void __launch_bounds__(THREADS) moments_kernel(NormInputs in, wide<T>* partial) {
    using R = wide<T>;
    __shared__ R first[CELLS<R>], second[CELLS<R>];
    const Here<T> here(in);
    for (int q = threadIdx.x; q < here.channels / WIDTH<T>; q += blockDim.x) {
        R from[WIDTH<T>], sum[WIDTH<T>] = {}, square[WIDTH<T>] = {};
        for (int v = 0; v < WIDTH<T>; ++v) {
            const int c = q * WIDTH<T> + v;
            from[v] = here.shifted(c) - here.origin(c / here.depth);
        }
        for (int64_t pixel = here.begin + threadIdx.y; pixel < here.end; pixel += blockDim.y) {
            const auto seen = *reinterpret_cast<const Vector<T>*>(here.x + here.place(pixel, q));
            for (int v = 0; v < WIDTH<T>; ++v) {
                const R away = widened(seen.at[v]) + from[v];
                sum[v] += away, square[v] += away * away;
            }
        }
        for (int v = 0; v < WIDTH<T>; ++v) {
            const int cell = threadIdx.y * here.channels + q * WIDTH<T> + v;
            first[cell] = sum[v], second[cell] = square[v];
        }
    }
    hand_in(here, first, second, partial);
}

// One block a picture: its groups' sums over all chunks, handed to `done(group, first, second)`.
template <class T, class F>
__device__ void add_up(const Here<T>& here, const wide<T>* partial, int chunks, const F& done) {
    using R = wide<T>;
    __shared__ R first[SLICES][LANES], second[SLICES][LANES];
    for (int base = 0; base < here.groups; base += LANES) {
        const int g = base + threadIdx.x;
        R a = 0, b = 0;
        if (g < here.groups)
            for (int chunk = threadIdx.y; chunk < chunks; chunk += SLICES) {
                const R* of = partial + ((int64_t(here.n) * chunks + chunk) * here.groups + g) * 2;
                a += of[0], b += of[1];
            }
        first[threadIdx.y][threadIdx.x] = a, second[threadIdx.y][threadIdx.x] = b;
        __syncthreads();
        if (threadIdx.y == 0 && g < here.groups) {
            for (int slice = 1; slice < SLICES; ++slice) a += first[slice][threadIdx.x], b += second[slice][threadIdx.x];
            done(g, a, b);
        }
        __syncthreads();
    }
}

template <class T>
__global__ void finish_moments_kernel(NormInputs in, const wide<T>* partial, int chunks, wide<T> eps, wide<T>* moments) {
    using R = wide<T>;
    const Here<T> here(in);
    const R many = R(here.pixels) * here.depth;
    add_up(here, partial, chunks, [&](int g, R sum, R square) {
        const R mean = sum / many, variance = square / many - mean * mean;
        R* to = moments + (int64_t(here.n) * here.groups + g) * 2;
        to[0] = here.origin(g) + mean;
        to[1] = 1 / sqrt((variance > 0 ? variance : R(0)) + eps);
    });
}

template <class T, bool SILU>
__global__ void __launch_bounds__(THREADS) apply_kernel(NormInputs in, const wide<T>* moments, T* out) {
    using R = wide<T>;
    const Here<T> here(in);
    T* y = out + here.n * here.pixels * here.channels;
    for (int q = threadIdx.x; q < here.channels / WIDTH<T>; q += blockDim.x) {
        Channel<R> of[WIDTH<T>];
        for (int v = 0; v < WIDTH<T>; ++v) of[v] = channel_of(here, moments, q * WIDTH<T> + v);
        for (int64_t pixel = here.begin + threadIdx.y; pixel < here.end; pixel += blockDim.y) {
            auto seen = *reinterpret_cast<const Vector<T>*>(here.x + here.place(pixel, q));
            for (int v = 0; v < WIDTH<T>; ++v) {
                const R z = (widened(seen.at[v]) - of[v].center) * of[v].scale + of[v].bias;
                seen.at[v] = narrowed<T>(SILU ? z * sigmoid(z) : z);
            }
            *reinterpret_cast<Vector<T>*>(y + here.place(pixel, q)) = seen;
        }
    }
}

// The gradient of what stands before SiLU.
template <bool SILU, class R>
__device__ __forceinline__ R before(R grad, R z) {
    if (!SILU) return grad;
    const R s = sigmoid(z);
    return grad * s * (1 + z * (1 - s));
}

// Sums over pixels of the gradient of the normalized numbers, plain and times (x - center).
template <class T, bool SILU>
__global__ void __launch_bounds__(THREADS) gradient_sums_kernel(NormInputs in, const T* grads, const wide<T>* moments,
                                                                wide<T>* partial) {
    using R = wide<T>;
    __shared__ R first[CELLS<R>], second[CELLS<R>];
    const Here<T> here(in);
    const T* grad = grads + here.n * here.pixels * here.channels;
    for (int q = threadIdx.x; q < here.channels / WIDTH<T>; q += blockDim.x) {
        Channel<R> of[WIDTH<T>];
        R sum[WIDTH<T>] = {}, product[WIDTH<T>] = {};
        for (int v = 0; v < WIDTH<T>; ++v) of[v] = channel_of(here, moments, q * WIDTH<T> + v);
        for (int64_t pixel = here.begin + threadIdx.y; pixel < here.end; pixel += blockDim.y) {
            const auto seen = *reinterpret_cast<const Vector<T>*>(here.x + here.place(pixel, q));
            const auto given = *reinterpret_cast<const Vector<T>*>(grad + here.place(pixel, q));
            for (int v = 0; v < WIDTH<T>; ++v) {
                const R away = widened(seen.at[v]) - of[v].center;
                const R dz = before<SILU>(widened(given.at[v]), away * of[v].scale + of[v].bias);
                sum[v] += dz, product[v] += dz * away;
            }
        }
        for (int v = 0; v < WIDTH<T>; ++v) {
            const int c = q * WIDTH<T> + v, cell = threadIdx.y * here.channels + c;
            const R weight = widened(here.weight[c]);
            first[cell] = weight * sum[v], second[cell] = weight * product[v];
        }
    }
    hand_in(here, first, second, partial);
}

// What the gradient of x loses: a number, and a multiple of (x - center).
template <class T>
__global__ void finish_sums_kernel(NormInputs in, const wide<T>* partial, int chunks, const wide<T>* moments, wide<T>* sums) {
    using R = wide<T>;
    const Here<T> here(in);
    const R many = R(here.pixels) * here.depth;
    add_up(here, partial, chunks, [&](int g, R sum, R product) {
        const int64_t at = (int64_t(here.n) * here.groups + g) * 2;
        const R inverse = moments[at + 1];
        sums[at] = inverse * sum / many;
        sums[at + 1] = inverse * inverse * inverse * product / many;
    });
}

template <class T, bool SILU>
__global__ void __launch_bounds__(THREADS) gradient_kernel(NormInputs in, const T* grads, const wide<T>* moments,
                                                           const wide<T>* sums, T* out) {
    using R = wide<T>;
    const Here<T> here(in);
    const int64_t picture = here.n * here.pixels * here.channels;
    for (int q = threadIdx.x; q < here.channels / WIDTH<T>; q += blockDim.x) {
        Channel<R> of[WIDTH<T>];
        R plain[WIDTH<T>], slope[WIDTH<T>];
        for (int v = 0; v < WIDTH<T>; ++v) {
            const int c = q * WIDTH<T> + v;
            const R* lost = sums + (int64_t(here.n) * here.groups + c / here.depth) * 2;
            of[v] = channel_of(here, moments, c);
            plain[v] = lost[0], slope[v] = lost[1];
        }
        for (int64_t pixel = here.begin + threadIdx.y; pixel < here.end; pixel += blockDim.y) {
            const auto seen = *reinterpret_cast<const Vector<T>*>(here.x + here.place(pixel, q));
            auto given = *reinterpret_cast<const Vector<T>*>(grads + picture + here.place(pixel, q));
            for (int v = 0; v < WIDTH<T>; ++v) {
                const R away = widened(seen.at[v]) - of[v].center;
                const R dz = before<SILU>(widened(given.at[v]), away * of[v].scale + of[v].bias);
                given.at[v] = narrowed<T>(of[v].scale * dz - plain[v] - slope[v] * away);
            }
            *reinterpret_cast<Vector<T>*>(out + picture + here.place(pixel, q)) = given;
        }
    }
}

template <class T, bool OTHER>
__global__ void __launch_bounds__(THREADS) add_bias_kernel(NormShape shape, const T* x, const T* bias, const T* other, T* y) {
    using R = wide<T>;
    const int64_t all = shape.batch * shape.pixels, begin = all * blockIdx.x / gridDim.x, end = all * (blockIdx.x + 1) / gridDim.x;
    for (int q = threadIdx.x; q < shape.channels / WIDTH<T>; q += blockDim.x) {
        const auto more = *reinterpret_cast<const Vector<T>*>(bias + q * WIDTH<T>);
        for (int64_t pixel = begin + threadIdx.y; pixel < end; pixel += blockDim.y) {
            const int64_t place = pixel * shape.channels + int64_t(q) * WIDTH<T>;
            auto sum = *reinterpret_cast<const Vector<T>*>(x + place);
            for (int v = 0; v < WIDTH<T>; ++v) {
                R number = widened(sum.at[v]) + widened(more.at[v]);
                if (OTHER) number += widened(reinterpret_cast<const Vector<T>*>(other + place)->at[v]);
                sum.at[v] = narrowed<T>(number);
            }
            *reinterpret_cast<Vector<T>*>(y + place) = sum;
        }
    }
}

template <class T>
__global__ void __launch_bounds__(THREADS) gated_gelu_kernel(NormShape shape, const T* x, T* y) {
    using R = wide<T>;
    const int64_t begin = shape.pixels * blockIdx.x / gridDim.x, end = shape.pixels * (blockIdx.x + 1) / gridDim.x;
    for (int q = threadIdx.x; q < shape.channels / WIDTH<T>; q += blockDim.x)
        for (int64_t row = begin + threadIdx.y; row < end; row += blockDim.y) {
            const T* of = x + row * 2 * shape.channels + int64_t(q) * WIDTH<T>;
            auto seen = *reinterpret_cast<const Vector<T>*>(of);
            const auto gate = *reinterpret_cast<const Vector<T>*>(of + shape.channels);
            for (int v = 0; v < WIDTH<T>; ++v) {
                const R g = widened(gate.at[v]);
                seen.at[v] = narrowed<T>(widened(seen.at[v]) * g * R(0.5) * (1 + erf(g * R(0.70710678118654752))));
            }
            *reinterpret_cast<Vector<T>*>(y + row * shape.channels + int64_t(q) * WIDTH<T>) = seen;
        }
}

template <class T>
void forward(const NormInputs& in, double eps, T* y, wide<T>* moments, wide<T>* partial, cudaStream_t stream) {
    const Plan plan = plan_of<T>(in.shape);
    moments_kernel<T><<<dim3(plan.chunks, in.shape.batch), dim3(plan.columns, plan.rows), 0, stream>>>(in, partial);
    finish_moments_kernel<T><<<dim3(1, in.shape.batch), dim3(LANES, SLICES), 0, stream>>>(in, partial, plan.chunks, wide<T>(eps), moments);
    if (in.silu)
        apply_kernel<T, true><<<dim3(plan.chunks, in.shape.batch), dim3(plan.columns, plan.rows), 0, stream>>>(in, moments, y);
    else
        apply_kernel<T, false><<<dim3(plan.chunks, in.shape.batch), dim3(plan.columns, plan.rows), 0, stream>>>(in, moments, y);
}

template <class T>
void backward(const NormInputs& in, const T* grad, const wide<T>* moments, wide<T>* sums, wide<T>* partial, T* grad_x,
              cudaStream_t stream) {
    const Plan plan = plan_of<T>(in.shape);
    const dim3 grid(plan.chunks, in.shape.batch), block(plan.columns, plan.rows);
    if (in.silu)
        gradient_sums_kernel<T, true><<<grid, dim3(plan.columns, plan.rows), 0, stream>>>(in, grad, moments, partial);
    else
        gradient_sums_kernel<T, false><<<grid, dim3(plan.columns, plan.rows), 0, stream>>>(in, grad, moments, partial);
    finish_sums_kernel<T><<<dim3(1, in.shape.batch), dim3(LANES, SLICES), 0, stream>>>(in, partial, plan.chunks, moments, sums);
    if (in.silu)
        gradient_kernel<T, true><<<grid, dim3(plan.columns, plan.rows), 0, stream>>>(in, grad, moments, sums, grad_x);
    else
        gradient_kernel<T, false><<<grid, dim3(plan.columns, plan.rows), 0, stream>>>(in, grad, moments, sums, grad_x);
}

template <class T>
void add_bias(const NormShape& shape, const T* x, const T* bias, const T* other, T* y, cudaStream_t stream) {
    const Plan plan = plan_of<T>(shape);
    const int blocks = plan.chunks * shape.batch;
    if (other)
        add_bias_kernel<T, true><<<dim3(blocks), dim3(plan.columns, plan.rows), 0, stream>>>(shape, x, bias, other, y);
    else
        add_bias_kernel<T, false><<<dim3(blocks), dim3(plan.columns, plan.rows), 0, stream>>>(shape, x, bias, other, y);
}

template <class T>
void gated_gelu(const NormShape& shape, const T* x, T* y, cudaStream_t stream) {
    const Plan plan = plan_of<T>(shape);
    gated_gelu_kernel<T><<<dim3(plan.chunks), dim3(plan.columns, plan.rows), 0, stream>>>(shape, x, y);
}

// Calls f with a null pointer of the type.
template <class F>
auto for_number(Number type, const F& f) {
    switch (type) {
#ifdef __CUDACC__
        case Number::half: return f(static_cast<__half*>(nullptr));
        case Number::bfloat16: return f(static_cast<__nv_bfloat16*>(nullptr));
#endif
        case Number::float64: return f(static_cast<double*>(nullptr));
        default: return f(static_cast<float*>(nullptr));
    }
}

template <class P>
using Of = std::remove_pointer_t<P>;

}  // namespace

int64_t norm_partial(const NormInputs& in) {
    return for_number(in.type, [&](auto* null) {
        return int64_t(in.shape.batch) * plan_of<Of<decltype(null)>>(in.shape).chunks * in.shape.groups * 2;
    });
}

void group_norm_cuda(const NormInputs& in, double eps, void* y, void* moments, void* partial, cudaStream_t stream) {
    for_number(in.type, [&](auto* null) {
        using T = Of<decltype(null)>;
        using R = wide<T>;
        forward<T>(in, eps, static_cast<T*>(y), static_cast<R*>(moments), static_cast<R*>(partial), stream);
    });
}

void group_norm_backward_cuda(const NormInputs& in, const void* grad, const void* moments, void* sums, void* partial, void* grad_x,
                              cudaStream_t stream) {
    for_number(in.type, [&](auto* null) {
        using T = Of<decltype(null)>;
        using R = wide<T>;
        backward<T>(in, static_cast<const T*>(grad), static_cast<const R*>(moments), static_cast<R*>(sums),
                    static_cast<R*>(partial), static_cast<T*>(grad_x), stream);
    });
}

void add_bias_cuda(Number type, const NormShape& shape, const void* x, const void* bias, const void* other, void* y,
                   cudaStream_t stream) {
    for_number(type, [&](auto* null) {
        using T = Of<decltype(null)>;
        add_bias<T>(shape, static_cast<const T*>(x), static_cast<const T*>(bias), static_cast<const T*>(other),
                    static_cast<T*>(y), stream);
    });
}

void gated_gelu_cuda(Number type, const NormShape& shape, const void* x, void* y, cudaStream_t stream) {
    for_number(type, [&](auto* null) {
        using T = Of<decltype(null)>;
        gated_gelu<T>(shape, static_cast<const T*>(x), static_cast<T*>(y), stream);
    });
}

}  // namespace i3d
