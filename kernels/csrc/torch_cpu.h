// What every CPU binding needs from torch. Included by cpu/*_torch.cpp alone.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <optional>
#include <tuple>

#include "parallel.h"
#include "thread_pool.h"

namespace torch_cpu {

// As many threads as torch.set_num_threads says.
inline void run_tasks(int64_t tasks, void (*body)(void*, int64_t), void* context) {
    i3d::ThreadPool::run(tasks, at::get_num_threads(), body, context);
}

inline i3d::Parallel parallel() { return {run_tasks}; }

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

template <class F>
void for_type(const at::Tensor& tensor, const F& f) {
    if (tensor.scalar_type() == at::kDouble)
        f(double{});
    else
        f(float{});
}

}  // namespace torch_cpu
