// Binding of group normalization's CUDA kernels to torch: allocates results, fills the dispatch key.
#include <c10/cuda/CUDAException.h>

#include "cuda/group_norm.h"
#include "torch_cuda.h"

namespace {

using torch_cuda::Place;
using Tensor = at::Tensor;
using Maybe = std::optional<Tensor>;

i3d::Number number_of(const Tensor& tensor) {
    switch (tensor.scalar_type()) {
        case at::kHalf: return i3d::Number::half;
        case at::kBFloat16: return i3d::Number::bfloat16;
        case at::kFloat: return i3d::Number::float32;
        case at::kDouble: return i3d::Number::float64;
        default: TORCH_CHECK(false, "group_norm: expected float16, bfloat16, float32 or float64, got ", tensor.scalar_type());
    }
}

i3d::NormShape shape_of(const Tensor& x, int64_t groups) {
    const int64_t width = i3d::NORM_VECTOR / x.element_size(), most = i3d::NORM_CHANNELS / (x.scalar_type() == at::kDouble ? 2 : 1);
    TORCH_CHECK(x.size(2) > 0 && x.size(2) % width == 0 && x.size(2) <= most && x.size(2) % groups == 0,
                "group_norm: expected up to ", most, " channels, a multiple of ", width, " and of the groups, got ", x.size(2));
    return {x.size(1), int(x.size(0)), int(x.size(2)), int(groups)};
}

// Dense, and where a thread may read NORM_VECTOR bytes at once.
Tensor ready(const Tensor& tensor) {
    const Tensor dense = tensor.contiguous();
    return reinterpret_cast<uintptr_t>(dense.data_ptr()) % i3d::NORM_VECTOR ? dense.clone() : dense;
}

const void* at_of(const Maybe& tensor) { return tensor.has_value() ? tensor->data_ptr() : nullptr; }

at::TensorOptions wide(const Tensor& x) {
    return x.options().dtype(x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
}

// Of tensors that are ready; kernels/group_norm.py sees to their types and shapes.
i3d::NormInputs inputs_of(const Tensor& x, const Maybe& shift, const Tensor& weight, const Tensor& bias, int64_t groups, bool silu) {
    return {number_of(x), shape_of(x, groups), x.data_ptr(), at_of(shift), weight.data_ptr(), bias.data_ptr(), silu};
}

std::tuple<Tensor, Tensor> group_norm(const Tensor& given, const Maybe& given_shift, const Tensor& weight, const Tensor& bias,
                                      int64_t groups, double eps, bool silu) {
    Place place(given);
    const Tensor x = ready(given);
    const Maybe shift = torch_glue::contiguous(given_shift);
    const i3d::NormInputs inputs = inputs_of(x, shift, weight, bias, groups, silu);
    Tensor y = at::empty_like(x), moments = at::empty({x.size(0), groups, 2}, wide(x));
    if (x.numel() == 0) return {y, moments.zero_()};
    Tensor partial = at::empty({i3d::norm_partial(inputs)}, wide(x));
    i3d::group_norm_cuda(inputs, eps, y.data_ptr(), moments.data_ptr(), partial.data_ptr(), place.stream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return {y, moments};
}

Tensor group_norm_backward(const Tensor& given_grad, const Tensor& given, const Maybe& given_shift, const Tensor& weight,
                           const Tensor& bias, const Tensor& moments, int64_t groups, bool silu) {
    Place place(given);
    const Tensor grad = ready(given_grad), x = ready(given);
    const Maybe shift = torch_glue::contiguous(given_shift);
    const i3d::NormInputs inputs = inputs_of(x, shift, weight, bias, groups, silu);
    Tensor grad_x = at::empty_like(x), sums = at::empty_like(moments);
    if (x.numel() == 0) return grad_x;
    Tensor partial = at::empty({i3d::norm_partial(inputs)}, moments.options());
    i3d::group_norm_backward_cuda(inputs, grad.data_ptr(), moments.data_ptr(), sums.data_ptr(), partial.data_ptr(),
                                  grad_x.data_ptr(), place.stream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return grad_x;
}

Tensor add_bias(const Tensor& given, const Tensor& given_bias, const Maybe& given_other) {
    Place place(given);
    const Tensor x = ready(given), bias = ready(given_bias);
    const Maybe other = given_other.has_value() ? Maybe(ready(*given_other)) : Maybe();
    Tensor y = at::empty_like(x);
    if (x.numel())
        i3d::add_bias_cuda(number_of(x), shape_of(x, 1), x.data_ptr(), bias.data_ptr(), at_of(other), y.data_ptr(), place.stream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return y;
}

Tensor gated_gelu(const Tensor& given) {
    Place place(given);
    const Tensor x = ready(given);
    auto sizes = x.sizes().vec();
    sizes.back() /= 2;
    Tensor y = at::empty(sizes, x.options());
    const int64_t width = i3d::NORM_VECTOR / x.element_size();
    TORCH_CHECK(y.size(-1) % width == 0 && x.size(-1) == 2 * y.size(-1), "gated_gelu: expected a multiple of ", 2 * width,
                " channels, got ", x.size(-1));
    const i3d::NormShape shape{y.numel() / (y.size(-1) ? y.size(-1) : 1), 1, int(y.size(-1)), 1};
    if (y.numel()) i3d::gated_gelu_cuda(number_of(x), shape, x.data_ptr(), y.data_ptr(), place.stream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return y;
}

}  // namespace

TORCH_LIBRARY_IMPL(i3d, CUDA, m) {
    m.impl("group_norm", group_norm);
    m.impl("group_norm_backward", group_norm_backward);
    m.impl("add_bias", add_bias);
    m.impl("gated_gelu", gated_gelu);
}
