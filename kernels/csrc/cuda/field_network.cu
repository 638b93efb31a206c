// Encoding, network and regional residuals on CUDA: one thread a point, all grids of a call in one launch.
#include "field_cuda.h"
#include "volume_render.h"

namespace i3d {
namespace {

constexpr int THREADS = 128;
constexpr unsigned WHOLE_WARP = 0xffffffffu;

int blocks(int64_t work) { return int((work + THREADS - 1) / THREADS); }

template <class R>
struct Corner {
    int64_t row;
    R weight, slope[3];
};

template <class R>
__device__ Corner<R> corner_of(const Level& level, const R* unit, int corner) {
    R within[3], part[3];
    uint32_t at[3];
    for (int axis = 0; axis < 3; ++axis) {
        const int bit = (corner >> axis) & 1;
        at[axis] = uint32_t(cell_of(unit[axis], level.resolution, within[axis]) + bit);
        part[axis] = bit ? within[axis] : 1 - within[axis];
    }
    Corner<R> out;
    out.row = level.offset + corner_entry(level, at[0], at[1], at[2]);
    out.weight = part[0] * part[1] * part[2];
    const R scale = R(level.resolution);
    for (int axis = 0; axis < 3; ++axis) {
        const R sign = ((corner >> axis) & 1) ? scale : -scale;
        out.slope[axis] = sign * part[(axis + 1) % 3] * part[(axis + 2) % 3];
    }
    return out;
}

template <class R>
__device__ void encode_point(const CudaGrid<R>& grid, const R* unit, R* out) {
    for (int l = 0; l < grid.levels; ++l) {
        for (int f = 0; f < grid.features; ++f) out[l * grid.features + f] = 0;
        for (int c = 0; c < 8; ++c) {
            const Corner<R> corner = corner_of(grid.level[l], unit, c);
            const R* entry = grid.params + corner.row * grid.features;
            for (int f = 0; f < grid.features; ++f) out[l * grid.features + f] += corner.weight * entry[f];
        }
    }
}

// Adds the gradient of one point's encoding to its tables (unless null) and returns it by the unit coordinates.
template <class R>
__device__ void encode_point_backward(const CudaGrid<R>& grid, const R* unit, const R* grad, R* grad_table, R* slope) {
    slope[0] = slope[1] = slope[2] = 0;
    for (int l = 0; l < grid.levels; ++l)
        for (int c = 0; c < 8; ++c) {
            const Corner<R> corner = corner_of(grid.level[l], unit, c);
            R sum = 0;
            for (int f = 0; f < grid.features; ++f) {
                const R g = grad[l * grid.features + f];
                sum += grid.params[corner.row * grid.features + f] * g;
                if (grad_table) atomicAdd(grad_table + corner.row * grid.features + f, corner.weight * g);
            }
            for (int axis = 0; axis < 3; ++axis) slope[axis] += sum * corner.slope[axis];
        }
}

template <class R>
__device__ R clamp_unit(R value) {
    return smaller(larger(value, R(0)), R(1));
}

template <class R>
__global__ void encode_forward_kernel(CudaGrid<R> grid, const R* units, int64_t n, R* out) {
    const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const R unit[3] = {clamp_unit(units[i * 3]), clamp_unit(units[i * 3 + 1]), clamp_unit(units[i * 3 + 2])};
    encode_point(grid, unit, out + i * grid.levels * grid.features);
}

template <class R>
__global__ void encode_backward_kernel(CudaGrid<R> grid, const R* units, const R* grad, int64_t n, R* grad_table,
                                       R* grad_units) {
    const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const R unit[3] = {clamp_unit(units[i * 3]), clamp_unit(units[i * 3 + 1]), clamp_unit(units[i * 3 + 2])};
    R slope[3];
    encode_point_backward(grid, unit, grad + i * grid.levels * grid.features, grad_table, slope);
    if (!grad_units) return;
    for (int axis = 0; axis < 3; ++axis) {
        const R given = units[i * 3 + axis];
        if (given >= 0 && given <= 1) grad_units[i * 3 + axis] += slope[axis];
    }
}

// One grid's parameters behind its tables, in the order of field_network.h.
template <class R>
struct Layers {
    int64_t table, first, first_bias, second, second_bias;
    int inputs;

    __device__ explicit Layers(const CudaGrid<R>& grid) {
        const Level& last = grid.level[grid.levels - 1];
        inputs = grid.levels * grid.features + grid.extra;
        table = (last.offset + last.entries) * grid.features;
        first = table;
        first_bias = first + int64_t(grid.hidden) * inputs;
        second = first_bias + grid.hidden;
        second_bias = second + int64_t(CUDA_OUTPUTS) * grid.hidden;
    }
};

template <class R>
__device__ bool inputs_of(const CudaGrid<R>& grid, const R* position, const CudaBase<R>& base, int64_t i, R* unit, R* x) {
    if (!inside_grid(grid.box, grid.mask, grid.mask_side, position[0], position[1], position[2])) return false;
    for (int axis = 0; axis < 3; ++axis) unit[axis] = (position[axis] - grid.box[axis]) / grid.box[3];
    encode_point(grid, unit, x);
    if (grid.extra) {
        R* extra = x + grid.levels * grid.features;
        for (int j = 0; j < base.width; ++j) extra[j] = base.encoding[i * base.width + j];
        for (int j = 0; j < CUDA_OUTPUTS; ++j) extra[base.width + j] = base.raw[i * CUDA_OUTPUTS + j];
    }
    return true;
}

template <class R>
__device__ R hidden_unit(const CudaGrid<R>& grid, const Layers<R>& at, const R* x, int h) {
    R sum = grid.params[at.first_bias + h];
    const R* row = grid.params + at.first + int64_t(h) * at.inputs;
    for (int j = 0; j < at.inputs; ++j) sum += row[j] * x[j];
    return sum;
}

// Adds one grid's outputs for inputs that are there already.
template <class R>
__device__ void network_point(const CudaGrid<R>& grid, const R* x, R* raw) {
    const Layers<R> at(grid);
    R out[CUDA_OUTPUTS];
    for (int o = 0; o < CUDA_OUTPUTS; ++o) out[o] = grid.params[at.second_bias + o];
    for (int h = 0; h < grid.hidden; ++h) {
        const R value = larger(hidden_unit(grid, at, x, h), R(0));
        for (int o = 0; o < CUDA_OUTPUTS; ++o) out[o] += grid.params[at.second + o * grid.hidden + h] * value;
    }
    for (int o = 0; o < CUDA_OUTPUTS; ++o) raw[o] += out[o];
}

template <class R>
__global__ void network_forward_kernel(const CudaGrid<R>* grids, int count, const R* positions, CudaBase<R> base,
                                       int64_t n, R* raw, R* encoding, uint8_t* speaks) {
    const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= n) return;
    R x[MAX_INPUTS], unit[3];
    for (int g = 0; g < count; ++g) {
        const CudaGrid<R>& grid = grids[g];
        if (!inputs_of(grid, positions + i * 3, base, i, unit, x)) continue;
        network_point(grid, x, raw + i * CUDA_OUTPUTS);
        speaks[i] = 1;
        const int width = grid.levels * grid.features;
        if (encoding)
            for (int j = 0; j < width; ++j) encoding[i * width + j] = x[j];
    }
}

// Adds the sum over the warp's threads: one atomic operation instead of 32.
template <class R>
__device__ void add_of_warp(R* to, R value) {
    for (int step = 16; step > 0; step /= 2) value += __shfl_down_sync(WHOLE_WARP, value, step);
    if (threadIdx.x % 32 == 0 && value != 0) atomicAdd(to, value);
}

template <class R>
__global__ void network_backward_kernel(const CudaGrid<R>* grids, const int64_t* offsets, int count, const R* positions,
                                        CudaBase<R> base, int64_t n, const R* grad_raw, const R* grad_encoding,
                                        R* grad_params, R* grad_positions, R* grad_base_encoding, R* grad_base_raw) {
    const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    R x[MAX_INPUTS], grad_x[MAX_INPUTS], unit[3], slope[3];
    for (int g = 0; g < count; ++g) {
        const CudaGrid<R>& grid = grids[g];
        const Layers<R> at(grid);
        // Every thread of the warp goes through the sums below; those without a point here add zeros.
        const bool here = i < n && inputs_of(grid, positions + i * 3, base, i, unit, x);
        if (!__any_sync(WHOLE_WARP, here)) continue;
        R* params = grad_params ? grad_params + offsets[g] : nullptr;
        R out[CUDA_OUTPUTS];
        for (int o = 0; o < CUDA_OUTPUTS; ++o) {
            out[o] = here && grad_raw ? grad_raw[i * CUDA_OUTPUTS + o] : R(0);
            if (params) add_of_warp(params + at.second_bias + o, out[o]);
        }
        for (int j = 0; j < at.inputs; ++j) {
            grad_x[j] = 0;
            if (!here) x[j] = 0;
        }
        for (int h = 0; h < grid.hidden; ++h) {
            const R value = here ? hidden_unit(grid, at, x, h) : R(0);
            R grad = 0;
            for (int o = 0; o < CUDA_OUTPUTS; ++o) {
                grad += grid.params[at.second + o * grid.hidden + h] * out[o];
                if (params) add_of_warp(params + at.second + o * grid.hidden + h, out[o] * larger(value, R(0)));
            }
            if (!(value > 0)) grad = 0;
            if (params) add_of_warp(params + at.first_bias + h, grad);
            const int64_t row = at.first + int64_t(h) * at.inputs;
            for (int j = 0; j < at.inputs; ++j) {
                grad_x[j] += grid.params[row + j] * grad;
                if (params) add_of_warp(params + row + j, grad * x[j]);
            }
        }
        if (!here) continue;
        const int width = grid.levels * grid.features;
        if (grad_encoding)
            for (int j = 0; j < width; ++j) grad_x[j] += grad_encoding[i * width + j];
        if (grad_base_encoding)
            for (int j = 0; j < base.width; ++j) grad_base_encoding[i * base.width + j] += grad_x[width + j];
        if (grad_base_raw)
            for (int j = 0; j < CUDA_OUTPUTS; ++j) grad_base_raw[i * CUDA_OUTPUTS + j] += grad_x[width + base.width + j];
        encode_point_backward(grid, unit, grad_x, params, slope);
        if (grad_positions)
            for (int axis = 0; axis < 3; ++axis) grad_positions[i * 3 + axis] += slope[axis] / grid.box[3];
    }
}

// Raw outputs of all grids at one point; false where nothing speaks.
template <class R>
__device__ bool field_point(const CudaGrid<R>* grids, int regions, const R* position, R empty, R* encoding, R* raw) {
    R x[MAX_INPUTS], unit[3];
    R base_raw[CUDA_OUTPUTS] = {0, 0, 0, 0};
    const CudaGrid<R>& base = grids[0];
    const int width = base.levels * base.features;
    bool spoken = inputs_of(base, position, CudaBase<R>{nullptr, nullptr, 0}, 0, unit, encoding);
    if (spoken)
        network_point(base, encoding, base_raw);
    else {
        base_raw[0] = empty;
        for (int j = 0; j < width; ++j) encoding[j] = 0;
    }
    for (int o = 0; o < CUDA_OUTPUTS; ++o) raw[o] = base_raw[o];
    for (int g = 1; g <= regions; ++g) {
        if (!inputs_of(grids[g], position, CudaBase<R>{encoding, base_raw, width}, 0, unit, x)) continue;
        spoken = true;
        network_point(grids[g], x, raw);
    }
    return spoken;
}

template <class R>
__global__ void render_rays_kernel(const R* origins, const R* directions, const R* shifts, int64_t n, R step, R near,
                                   const uint8_t* occupancy, int side, const CudaGrid<R>* grids, int regions, R empty,
                                   R stop, R* color, R* alpha, R* depth, int32_t* used) {
    const int64_t ray = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (ray >= n) return;
    const March<R> march =
        begin_march(origins + ray * 3, directions + ray * 3, step, shifts ? shifts[ray] : R(0.5), near);
    R encoding[MAX_INPUTS], raw[CUDA_OUTPUTS], position[3], sum[4] = {0, 0, 0, 0}, transmittance = 1;
    int32_t count = 0;
    for (int64_t k = 0; transmittance > stop && (k = next_sample(march, occupancy, side, k, position)) >= 0; ++k) {
        ++count;
        if (!field_point(grids, regions, position, empty, encoding, raw)) continue;
        const R density = exp(smaller(raw[0], R(RAW_MAX)));
        const R weight = -expm1(-density * step) * transmittance;
        for (int c = 0; c < 3; ++c) sum[c] += weight / (1 + exp(-raw[1 + c]));
        sum[3] += weight * march.time(k);
        transmittance -= weight;
    }
    for (int c = 0; c < 3; ++c) color[ray * 3 + c] = sum[c];
    alpha[ray] = 1 - transmittance;
    depth[ray] = sum[3];
    used[ray] = count;
}

}  // namespace

template <class R>
void render_rays_cuda(const R* origins, const R* directions, const R* shifts, int64_t n, R step, R near,
                      const uint8_t* occupancy, int side, const CudaGrid<R>* grids, int regions, R empty, R stop,
                      R* color, R* alpha, R* depth, int32_t* used, cudaStream_t stream) {
    if (n)
        render_rays_kernel<<<blocks(n), THREADS, 0, stream>>>(origins, directions, shifts, n, step, near, occupancy, side,
                                                              grids, regions, empty, stop, color, alpha, depth, used);
}

template <class R>
void encode_forward_cuda(const CudaGrid<R>& grid, const R* units, int64_t n, R* out, cudaStream_t stream) {
    if (n) encode_forward_kernel<<<blocks(n), THREADS, 0, stream>>>(grid, units, n, out);
}

template <class R>
void encode_backward_cuda(const CudaGrid<R>& grid, const R* units, const R* grad, int64_t n, R* grad_table,
                          R* grad_units, cudaStream_t stream) {
    if (n) encode_backward_kernel<<<blocks(n), THREADS, 0, stream>>>(grid, units, grad, n, grad_table, grad_units);
}

template <class R>
void network_forward_cuda(const CudaGrid<R>* grids, int count, const R* positions, CudaBase<R> base, int64_t n, R* raw,
                          R* encoding, uint8_t* speaks, cudaStream_t stream) {
    if (n) network_forward_kernel<<<blocks(n), THREADS, 0, stream>>>(grids, count, positions, base, n, raw, encoding, speaks);
}

template <class R>
void network_backward_cuda(const CudaGrid<R>* grids, const int64_t* offsets, int count, const R* positions,
                           CudaBase<R> base, int64_t n, const R* grad_raw, const R* grad_encoding, R* grad_params,
                           R* grad_positions, R* grad_base_encoding, R* grad_base_raw, cudaStream_t stream) {
    if (n)
        network_backward_kernel<<<blocks(n), THREADS, 0, stream>>>(grids, offsets, count, positions, base, n, grad_raw,
                                                                   grad_encoding, grad_params, grad_positions,
                                                                   grad_base_encoding, grad_base_raw);
}

#define I3D_INSTANTIATE(R)                                                                                             \
    template void encode_forward_cuda<R>(const CudaGrid<R>&, const R*, int64_t, R*, cudaStream_t);                     \
    template void encode_backward_cuda<R>(const CudaGrid<R>&, const R*, const R*, int64_t, R*, R*, cudaStream_t);      \
    template void network_forward_cuda<R>(const CudaGrid<R>*, int, const R*, CudaBase<R>, int64_t, R*, R*, uint8_t*,   \
                                          cudaStream_t);                                                               \
    template void network_backward_cuda<R>(const CudaGrid<R>*, const int64_t*, int, const R*, CudaBase<R>, int64_t,    \
                                           const R*, const R*, R*, R*, R*, R*, cudaStream_t);                          \
    template void render_rays_cuda<R>(const R*, const R*, const R*, int64_t, R, R, const uint8_t*, int,                \
                                      const CudaGrid<R>*, int, R, R, R*, R*, R*, int32_t*, cudaStream_t);
I3D_INSTANTIATE(float)
I3D_INSTANTIATE(double)

}  // namespace i3d
