#pragma once

namespace c10::cuda {

struct CUDAGuard {
    template <class Device>
    explicit CUDAGuard(Device) {}
};

}  // namespace c10::cuda
