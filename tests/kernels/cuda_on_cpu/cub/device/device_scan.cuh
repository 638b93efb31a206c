#pragma once

#include <cuda_runtime.h>

namespace cub {

struct DeviceScan {
    template <class In, class Out>
    static cudaError_t InclusiveSum(void* memory, size_t& bytes, In in, Out out, int count, cudaStream_t) {
        if (memory == nullptr) {
            bytes = 1;
            return cudaSuccess;
        }
        for (int i = 0; i < count; ++i) out[i] = (i ? out[i - 1] : 0) + in[i];
        return cudaSuccess;
    }
};

}  // namespace cub
