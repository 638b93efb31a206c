// CUDA launchers of stage II: what the binding calls. Pointers are device pointers; nothing here knows torch.
#pragma once

#include <cuda_runtime.h>

#include "hash_grid.h"

namespace i3d {

constexpr int MAX_LEVELS = 32;
constexpr int CUDA_OUTPUTS = 4;  // raw density, then raw red, green, blue
constexpr int MAX_INPUTS = 256;  // encoding and extra inputs of one grid, kept in local memory; the binding checks it

// As Grid of field_network.h, small enough to be a kernel's argument.
template <class R>
struct CudaGrid {
    int features, hidden, extra, mask_side, levels;
    Level level[MAX_LEVELS];
    const R* params;
    const uint8_t* mask;
    R box[BOX_NUMBERS];
};

template <class R>
struct CudaBase {
    const R* encoding;  // (n, width), or null for the base grid
    const R* raw;       // (n, CUDA_OUTPUTS)
    int width;
};

template <class R>
void encode_forward_cuda(const CudaGrid<R>& grid, const R* units, int64_t n, R* out, cudaStream_t stream);
// Adds to grad_table and grad_units; either may be null.
template <class R>
void encode_backward_cuda(const CudaGrid<R>& grid, const R* units, const R* grad, int64_t n, R* grad_table,
                          R* grad_units, cudaStream_t stream);
// All grids (device array) in one launch: adds to raw (n, CUDA_OUTPUTS), marks `speaks`, writes `encoding` unless null.
template <class R>
void network_forward_cuda(const CudaGrid<R>* grids, int count, const R* positions, CudaBase<R> base, int64_t n, R* raw,
                          R* encoding, uint8_t* speaks, cudaStream_t stream);
// All are added to; each may be null. grad_params follows the grids' parameters, offsets[g] is where grid g's begin.
template <class R>
void network_backward_cuda(const CudaGrid<R>* grids, const int64_t* offsets, int count, const R* positions,
                           CudaBase<R> base, int64_t n, const R* grad_raw, const R* grad_encoding, R* grad_params,
                           R* grad_positions, R* grad_base_encoding, R* grad_base_raw, cudaStream_t stream);

template <class R>
void march_count_cuda(const R* origins, const R* directions, const R* shifts, int64_t n, R step, R near,
                      const uint8_t* occupancy, int side, const int32_t* limits, int64_t* counts, cudaStream_t stream);
template <class R>
void march_fill_cuda(const R* origins, const R* directions, const R* shifts, int64_t n, R step, R near,
                     const uint8_t* occupancy, int side, const int64_t* offsets, R* times, R* positions,
                     cudaStream_t stream);
template <class R>
void composite_forward_cuda(const R* raw, const R* times, const int64_t* offsets, int64_t n, R step, R stop, R* color,
                            R* alpha, R* depth, R* weights, cudaStream_t stream);
template <class R>
void composite_backward_cuda(const R* raw, const R* times, const int64_t* offsets, int64_t n, R step, R stop,
                             const R* grad_color, const R* grad_alpha, const R* grad_depth, R* grad_raw,
                             cudaStream_t stream);

// March, field and composition in one launch, a thread a ray, without gradients; hidden samples are never evaluated.
// `grids` (device array) holds the base first, then `regions` further ones.
template <class R>
void render_rays_cuda(const R* origins, const R* directions, const R* shifts, int64_t n, R step, R near,
                      const uint8_t* occupancy, int side, const CudaGrid<R>* grids, int regions, R empty, R stop,
                      R* color, R* alpha, R* depth, int32_t* used, cudaStream_t stream);

}  // namespace i3d
