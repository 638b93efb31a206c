// What every CPU binding needs from torch. Included by cpu/*_torch.cpp alone.
#pragma once

#include <ATen/Parallel.h>

#include "parallel.h"
#include "thread_pool.h"
#include "torch_glue.h"

namespace torch_cpu {

using namespace torch_glue;

// As many threads as torch.set_num_threads says.
inline void run_tasks(int64_t tasks, void (*body)(void*, int64_t), void* context) {
    i3d::ThreadPool::run(tasks, at::get_num_threads(), body, context);
}

inline i3d::Parallel parallel() { return {run_tasks}; }

}  // namespace torch_cpu
