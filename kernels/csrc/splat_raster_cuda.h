// What the CUDA launchers of the splat rasterizer offer: device pointers and a stream, no torch.
#pragma once

#include <cuda_runtime.h>

#include "splat_raster.h"

namespace i3d {

// Where a launcher gets its temporary device memory; it stays valid until the launcher returns and, on the same stream,
// for everything it has launched.
struct DeviceMemory {
    void* (*take)(void* owner, size_t bytes);
    void* owner;

    template <class T>
    T* get(size_t count) const {
        return static_cast<T*>(take(owner, count * sizeof(T)));
    }
};

// `last` means what it means on the CPU, but for tiles of 16 x 16. `order` holds where each tile's splats begin (tiles + 1),
// then the splats of all tiles, nearest first; the forward pass takes it from `kept`, once. Throw std::runtime_error with
// CUDA's message. Sums over tiles are atomic: gradients differ in rounding from run to run.
template <class R>
void splat_forward_cuda(const SplatInputs<R>&, const SplatPictures<R>&, const SplatSaved<R>&, DeviceMemory memory,
                        DeviceMemory kept, cudaStream_t);
template <class R>
void splat_backward_cuda(const SplatInputs<R>&, const SplatPictureGrads<R>&, const SplatSaved<R>&, const SplatGrads<R>&,
                         DeviceMemory, cudaStream_t);

}  // namespace i3d
