// A grid at one point: its cells, its features and where its parameters lie.
#pragma once

#include "field_cuda.h"

namespace i3d {

inline int blocks_of(int64_t work, int threads) { return int((work + threads - 1) / threads); }

// One entry of a table, in as few loads as its alignment allows.
constexpr int smaller_of(int a, int b) { return a < b ? a : b; }
template <class R, int F>
struct alignas(smaller_of(PARAMS_ALIGNMENT, F * int(sizeof(R)))) Entry {
    R at[F];
};

template <class R>
__device__ R clamp_unit(R value) {
    return smaller(larger(value, R(0)), R(1));
}

template <class R>
__device__ void unit_of(const CudaGrid<R>& grid, const R* position, R* unit) {
    for (int axis = 0; axis < 3; ++axis)
        unit[axis] = clamp_unit(grid.box ? (position[axis] - grid.box[axis]) / grid.box[3] : position[axis]);
}

// The cell of a level in which a point lies.
template <class R>
struct Cell {
    uint32_t at[3];
    R within[3];

    __device__ Cell(const Level& level, const R* unit) {
        for (int axis = 0; axis < 3; ++axis) at[axis] = uint32_t(cell_of(unit[axis], level.resolution, within[axis]));
    }
    // Of a corner, whose bits say for each axis whether it is the far one.
    __device__ int64_t row(const Level& level, int corner) const {
        return level.offset + corner_entry(level, at[0] + (corner & 1), at[1] + (corner >> 1 & 1), at[2] + (corner >> 2));
    }
    __device__ R part(int corner, int axis) const { return corner >> axis & 1 ? within[axis] : 1 - within[axis]; }
    __device__ R weight(int corner) const { return part(corner, 0) * part(corner, 1) * part(corner, 2); }
    // Of the weight along an axis, by cells.
    __device__ R slope(int corner, int axis) const {
        const R steep = part(corner, (axis + 1) % 3) * part(corner, (axis + 2) % 3);
        return corner >> axis & 1 ? steep : -steep;
    }
};

template <int F, class R>
__device__ Entry<R, F> features_at(const CudaGrid<R>& grid, int l, const R* unit) {
    const Level& level = grid.level[l];
    const Cell<R> cell(level, unit);
    Entry<R, F> sum{};
#pragma unroll
    for (int corner = 0; corner < 8; ++corner) {
        const Entry<R, F> entry = *reinterpret_cast<const Entry<R, F>*>(grid.params + cell.row(level, corner) * F);
        const R weight = cell.weight(corner);
        for (int f = 0; f < F; ++f) sum.at[f] += weight * entry.at[f];
    }
    return sum;
}

// Calls `call` with the number of features as a type.
template <int F>
struct Count {
    static constexpr int value = F;
};
template <class Call>
void for_features(int features, const Call& call) {
    switch (features) {
        case 1: call(Count<1>()); break;
        case 2: call(Count<2>()); break;
        case 4: call(Count<4>()); break;
        default: call(Count<8>());
    }
}

// One grid's parameters behind its tables, in the order of field_network.h.
template <class R>
struct Layers {
    int64_t first, first_bias, second, second_bias;
    int inputs, hidden;

    __host__ __device__ explicit Layers(const CudaGrid<R>& grid) {
        const Level& last = grid.level[grid.levels - 1];
        inputs = grid.inputs(), hidden = grid.hidden;
        first = (last.offset + last.entries) * grid.features;
        first_bias = first + int64_t(hidden) * inputs;
        second = first_bias + hidden;
        second_bias = second + int64_t(CUDA_OUTPUTS) * hidden;
    }
};

}  // namespace i3d
