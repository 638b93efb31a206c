// CUDA launchers of stage II: what the binding calls. Pointers are device pointers; nothing here knows torch.
//
// What is a column a point lies feature after feature, (width, n), so that neighbouring threads, which have neighbouring
// points, read and write neighbouring numbers.
#pragma once

#include <cuda_runtime.h>

#include "hash_grid.h"

namespace i3d {

constexpr int MAX_LEVELS = 32;
constexpr int CUDA_OUTPUTS = 4;  // raw density, then raw red, green, blue
constexpr int PARAMS_ALIGNMENT = 16;  // bytes
constexpr int MAX_INPUTS = 256;  // encoding and extra inputs of one grid, kept in local memory by render_rays; the binding checks it

// As Grid of field_network.h, small enough to be a kernel's argument.
template <class R>
struct CudaGrid {
    int features, hidden, extra, mask_side, levels;
    Level level[MAX_LEVELS];
    const R* params;  // aligned to PARAMS_ALIGNMENT, for entries are read whole
    const uint8_t* mask;
    const R* box;  // BOX_NUMBERS; null: positions are in the unit cube already

    I3D_INLINE int encoded() const { return levels * features; }
    I3D_INLINE int inputs() const { return encoded() + extra; }
};

// Numbers of points: that of point i and feature f is at[i * point + f * feature].
template <class R>
struct Columns {
    R* at;
    int64_t point, feature;
};

// What the network reads: columns of the grid's own encoding, then for a refining grid those of the base's, and its raw output.
template <class R>
struct NetworkInputs {
    const R* own;
    const R* base;  // (base_width, n), or null
    const R* raw;   // (n, CUDA_OUTPUTS), or null
    int base_width;
};

// Gradients of the same; null where not wanted. `own` is written, the others are added to.
template <class R>
struct InputGrads {
    R* own;
    R* base;
    R* raw;
};

// members[i]: whether the grid speaks at point i. Also sets speaks[i] where it does, unless null.
template <class R>
void members_cuda(const CudaGrid<R>& grid, const R* positions, int64_t n, uint8_t* members, uint8_t* speaks, cudaStream_t stream);
// Points that are no members get zeros; null: all are.
template <class R>
void encode_forward_cuda(const CudaGrid<R>& grid, const R* positions, const uint8_t* members, int64_t n, Columns<R> out,
                         cudaStream_t stream);
// Adds to grad_table and grad_positions (n, 3); either may be null.
template <class R>
void encode_backward_cuda(const CudaGrid<R>& grid, const R* positions, const uint8_t* members, int64_t n, Columns<const R> grad,
                          R* grad_table, R* grad_positions, cudaStream_t stream);
// Adds the network's output for the members to raw (n, CUDA_OUTPUTS).
template <class R>
void network_forward_cuda(const CudaGrid<R>& grid, const NetworkInputs<R>& inputs, const uint8_t* members, int64_t n, R* raw,
                          cudaStream_t stream);
// grad_params: of all of the grid's parameters, the network's are added to; may be null. Columns of points that are no members
// are left alone.
template <class R>
void network_backward_cuda(const CudaGrid<R>& grid, const NetworkInputs<R>& inputs, const uint8_t* members, int64_t n,
                           const R* grad_raw, R* grad_params, const InputGrads<R>& grads, cudaStream_t stream);

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
