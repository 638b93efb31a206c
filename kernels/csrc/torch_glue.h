// What every binding needs from torch. Included by *_torch.cpp alone.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <optional>
#include <tuple>

namespace torch_glue {

template <class R>
R* pointer(const at::Tensor& tensor) {
    return tensor.data_ptr<R>();
}
template <class R>
R* pointer(const std::optional<at::Tensor>& tensor) {
    return tensor.has_value() ? tensor->data_ptr<R>() : nullptr;
}

inline std::optional<at::Tensor> contiguous(const std::optional<at::Tensor>& tensor) {
    return tensor.has_value() ? std::optional<at::Tensor>(tensor->contiguous()) : std::nullopt;
}

// Calls f with a zero of the tensor's type, float or double.
template <class F>
void for_type(const at::Tensor& tensor, const F& f) {
    if (tensor.scalar_type() == at::kDouble)
        f(double{});
    else
        f(float{});
}

}  // namespace torch_glue
