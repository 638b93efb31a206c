// CUDA launchers of group normalization and of what stands about it, for pictures that lie channels last: (n, pixels, channels).
// Pointers are device pointers; nothing here knows torch.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace i3d {

enum class Number { half, bfloat16, float32, float64 };

// How many bytes a thread reads at once: a picture's channels are a multiple of as many numbers, and its memory is aligned to it.
constexpr int NORM_VECTOR = 16;
constexpr int NORM_CHANNELS = 2560;  // the most in float32 and shorter; half as many in float64

struct NormShape {
    int64_t pixels;
    int batch, channels, groups;
};

// x + shift is normalized within each picture's groups of channels, then times weight, plus bias; `silu` takes SiLU of that.
// All but moments, partial and sums are of the type that `type` names; those are float, or double for float64.
struct NormInputs {
    Number type;
    NormShape shape;
    const void *x, *shift;        // (n, pixels, channels); (n, channels) or null
    const void *weight, *bias;    // (channels)
    bool silu;
};

// How many numbers `partial` has to hold, forward and backward.
int64_t norm_partial(const NormInputs& inputs);

// moments: (n, groups, 2), mean and 1 / deviation.
void group_norm_cuda(const NormInputs& inputs, double eps, void* y, void* moments, void* partial, cudaStream_t stream);

// The gradient of x, and of x alone. sums: (n, groups, 2), for the time being.
void group_norm_backward_cuda(const NormInputs& inputs, const void* grad, const void* moments, void* sums, void* partial,
                              void* grad_x, cudaStream_t stream);

// x + bias, plus another picture unless it is null.
void add_bias_cuda(Number type, const NormShape& shape, const void* x, const void* bias, const void* other, void* y,
                   cudaStream_t stream);

// The first half of each row's 2 x channels numbers times GELU of the second; shape.pixels are the rows.
void gated_gelu_cuda(Number type, const NormShape& shape, const void* x, void* y, cudaStream_t stream);

}  // namespace i3d
