// What every CPU binding needs from torch. Included by cpu/*_torch.cpp alone.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <tuple>

#include "parallel.h"

namespace torch_cpu {

// Torch's own threads, each taking the next task when it has finished one.
inline void run_tasks(int64_t tasks, void (*body)(void*, int64_t), void* context) {
    const int64_t threads = std::min<int64_t>(tasks, at::get_num_threads());
    if (threads <= 1) {
        for (int64_t task = 0; task < tasks; ++task) body(context, task);
        return;
    }
    std::atomic<int64_t> next{0};
    at::parallel_for(0, threads, 1, [&](int64_t, int64_t) {
        for (int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) body(context, task);
    });
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
