// Where a grid speaks, and its encoding, forward and backward: a thread a point and level. The blocks of a level follow one
// another, so that its table stays in the cache.
#include "field_point.h"

namespace i3d {
namespace {

constexpr int THREADS = 256;

template <class R>
__global__ void members_kernel(CudaGrid<R> grid, const R* positions, int64_t n, uint8_t* members, uint8_t* speaks) {
    const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const R* p = positions + i * 3;
    const bool inside = inside_grid(grid.box, grid.mask, grid.mask_side, p[0], p[1], p[2]);
    members[i] = inside;
    if (speaks && inside) speaks[i] = 1;
}

template <class R, int F>
__global__ void encode_kernel(CudaGrid<R> grid, const R* positions, const uint8_t* members, int64_t n, Columns<R> out) {
    const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const int level = blockIdx.y;
    Entry<R, F> sum{};
    if (!members || members[i]) {
        R unit[3];
        unit_of(grid, positions + i * 3, unit);
        sum = features_at<F>(grid, level, unit);
    }
    R* to = out.at + i * out.point + level * F * out.feature;
    for (int f = 0; f < F; ++f) to[f * out.feature] = sum.at[f];
}

template <class R, int F>
__device__ void add_entry(R* to, const Entry<R, F>& value) {
    for (int f = 0; f < F; ++f) atomicAdd(to + f, value.at[f]);
}
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
// From Hopper on a card adds up to four numbers at once, where they are aligned.
__device__ void add_entry(float* to, const Entry<float, 2>& value) {
    if (reinterpret_cast<uintptr_t>(to) % sizeof(float2)) return add_entry<float, 2>(to, value);
    atomicAdd(reinterpret_cast<float2*>(to), float2{value.at[0], value.at[1]});
}
__device__ void add_entry(float* to, const Entry<float, 4>& value) {
    if (reinterpret_cast<uintptr_t>(to) % sizeof(float4)) return add_entry<float, 4>(to, value);
    atomicAdd(reinterpret_cast<float4*>(to), float4{value.at[0], value.at[1], value.at[2], value.at[3]});
}
#endif

template <class R, int F>
__global__ void table_backward_kernel(CudaGrid<R> grid, const R* positions, const uint8_t* members, int64_t n,
                                      Columns<const R> grad, R* grad_table) {
    const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= n || (members && !members[i])) return;
    const R* from = grad.at + i * grad.point + blockIdx.y * F * grad.feature;
    Entry<R, F> given;
    bool any = false;
    for (int f = 0; f < F; ++f) {
        given.at[f] = from[f * grad.feature];
        any |= given.at[f] != 0;
    }
    if (!any) return;  // a sample behind the surface
    R unit[3];
    unit_of(grid, positions + i * 3, unit);
    const Level& level = grid.level[blockIdx.y];
    const Cell<R> cell(level, unit);
    for (int corner = 0; corner < 8; ++corner) {
        const R weight = cell.weight(corner);
        Entry<R, F> share;
        for (int f = 0; f < F; ++f) share.at[f] = weight * given.at[f];
        add_entry(grad_table + cell.row(level, corner) * F, share);
    }
}

// A thread a point: the sum over its levels.
template <class R>
__global__ void positions_backward_kernel(CudaGrid<R> grid, const R* positions, const uint8_t* members, int64_t n,
                                          Columns<const R> grad, R* grad_positions) {
    const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= n || (members && !members[i])) return;
    R unit[3], slope[3] = {0, 0, 0};
    unit_of(grid, positions + i * 3, unit);
    const R* from = grad.at + i * grad.point;
    for (int l = 0; l < grid.levels; ++l) {
        const Level& level = grid.level[l];
        const Cell<R> cell(level, unit);
        for (int corner = 0; corner < 8; ++corner) {
            const R* entry = grid.params + cell.row(level, corner) * grid.features;
            R sum = 0;
            for (int f = 0; f < grid.features; ++f) sum += entry[f] * from[(l * grid.features + f) * grad.feature];
            sum *= R(level.resolution);
            for (int axis = 0; axis < 3; ++axis) slope[axis] += sum * cell.slope(corner, axis);
        }
    }
    for (int axis = 0; axis < 3; ++axis) {
        const R given = positions[i * 3 + axis];
        if (grid.box)
            grad_positions[i * 3 + axis] += slope[axis] / grid.box[3];
        else if (given >= 0 && given <= 1)
            grad_positions[i * 3 + axis] += slope[axis];
    }
}

}  // namespace

template <class R>
void members_cuda(const CudaGrid<R>& grid, const R* positions, int64_t n, uint8_t* members, uint8_t* speaks, cudaStream_t stream) {
    if (n) members_kernel<R><<<blocks_of(n, THREADS), THREADS, 0, stream>>>(grid, positions, n, members, speaks);
}

template <class R>
void encode_forward_cuda(const CudaGrid<R>& grid, const R* positions, const uint8_t* members, int64_t n, Columns<R> out,
                         cudaStream_t stream) {
    if (!n) return;
    const dim3 blocks(blocks_of(n, THREADS), grid.levels);
    for_features(grid.features, [&](auto count) {
        constexpr int F = decltype(count)::value;
        encode_kernel<R, F><<<blocks, THREADS, 0, stream>>>(grid, positions, members, n, out);
    });
}

template <class R>
void encode_backward_cuda(const CudaGrid<R>& grid, const R* positions, const uint8_t* members, int64_t n, Columns<const R> grad,
                          R* grad_table, R* grad_positions, cudaStream_t stream) {
    if (!n) return;
    const dim3 blocks(blocks_of(n, THREADS), grid.levels);
    if (grad_table)
        for_features(grid.features, [&](auto count) {
            constexpr int F = decltype(count)::value;
            table_backward_kernel<R, F><<<blocks, THREADS, 0, stream>>>(grid, positions, members, n, grad, grad_table);
        });
    if (grad_positions)
        positions_backward_kernel<R><<<blocks_of(n, THREADS), THREADS, 0, stream>>>(grid, positions, members, n, grad,
                                                                                   grad_positions);
}

#define I3D_INSTANTIATE(R)                                                                                              \
    template void members_cuda<R>(const CudaGrid<R>&, const R*, int64_t, uint8_t*, uint8_t*, cudaStream_t);             \
    template void encode_forward_cuda<R>(const CudaGrid<R>&, const R*, const uint8_t*, int64_t, Columns<R>, cudaStream_t); \
    template void encode_backward_cuda<R>(const CudaGrid<R>&, const R*, const uint8_t*, int64_t, Columns<const R>, R*, R*, \
                                          cudaStream_t);
I3D_INSTANTIATE(float)
I3D_INSTANTIATE(double)

}  // namespace i3d
