// What every CUDA binding needs from torch. Included by cuda/*_torch.cpp alone.
#pragma once

#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <vector>

#include "torch_glue.h"

namespace torch_cuda {

using namespace torch_glue;

// The device and current stream of a tensor, and temporary memory on it from torch's allocator.
class Place {
  public:
    explicit Place(const at::Tensor& tensor)
        : guard_(tensor.device()), stream_(c10::cuda::getCurrentCUDAStream(tensor.device().index())),
          bytes_(tensor.options().requires_grad(false).dtype(at::kByte)) {}

    cudaStream_t stream() const { return stream_.stream(); }

    static void* take(void* owner, size_t bytes) {
        auto& self = *static_cast<Place*>(owner);
        self.taken_.push_back(at::empty({int64_t(bytes)}, self.bytes_));
        return self.taken_.back().data_ptr();
    }

  private:
    c10::cuda::CUDAGuard guard_;
    c10::cuda::CUDAStream stream_;
    at::TensorOptions bytes_;
    std::vector<at::Tensor> taken_;
};

}  // namespace torch_cuda
