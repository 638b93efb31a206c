// A field along rays, without gradients: one thread a ray.
#include "field_point.h"
#include "volume_render.h"

namespace i3d {
namespace {

constexpr int THREADS = 128;

// What a refining grid reads besides its own encoding; nulls for the base.
template <class R>
struct Base {
    const R *encoding, *raw;
    int width;
};

// A grid's inputs at a point, where it speaks there.
template <class R>
__device__ bool inputs_of(const CudaGrid<R>& grid, const R* position, const Base<R>& base, R* x) {
    if (!inside_grid(grid.box, grid.mask, grid.mask_side, position[0], position[1], position[2])) return false;
    R unit[3];
    unit_of(grid, position, unit);
    for (int l = 0; l < grid.levels; ++l) {
        const Cell<R> cell(grid.level[l], unit);
        R* to = x + l * grid.features;
        for (int f = 0; f < grid.features; ++f) to[f] = 0;
        for (int corner = 0; corner < 8; ++corner) {
            const R* entry = grid.params + cell.row(grid.level[l], corner) * grid.features;
            const R weight = cell.weight(corner);
            for (int f = 0; f < grid.features; ++f) to[f] += weight * entry[f];
        }
    }
    if (grid.extra) {
        R* extra = x + grid.encoded();
        for (int j = 0; j < base.width; ++j) extra[j] = base.encoding[j];
        for (int j = 0; j < CUDA_OUTPUTS; ++j) extra[base.width + j] = base.raw[j];
    }
    return true;
}

// Adds one grid's outputs for its inputs.
template <class R>
__device__ void add_outputs(const CudaGrid<R>& grid, const R* x, R* raw) {
    const Layers<R> at(grid);
    const R* params = grid.params;
    for (int o = 0; o < CUDA_OUTPUTS; ++o) raw[o] += params[at.second_bias + o];
    for (int h = 0; h < at.hidden; ++h) {
        R value = params[at.first_bias + h];
        const R* row = params + at.first + int64_t(h) * at.inputs;
        for (int j = 0; j < at.inputs; ++j) value += row[j] * x[j];
        if (value > 0)
            for (int o = 0; o < CUDA_OUTPUTS; ++o) raw[o] += params[at.second + o * at.hidden + h] * value;
    }
}

// Raw outputs of all grids at one point; false where nothing speaks.
template <class R>
__device__ bool field_point(const CudaGrid<R>* grids, int regions, const R* position, R empty, R* encoding, R* raw) {
    R x[MAX_INPUTS], base_raw[CUDA_OUTPUTS] = {0, 0, 0, 0};
    const CudaGrid<R>& base = grids[0];
    const int width = base.encoded();
    bool spoken = inputs_of(base, position, Base<R>{nullptr, nullptr, 0}, encoding);
    if (spoken)
        add_outputs(base, encoding, base_raw);
    else {
        base_raw[0] = empty;
        for (int j = 0; j < width; ++j) encoding[j] = 0;
    }
    for (int o = 0; o < CUDA_OUTPUTS; ++o) raw[o] = base_raw[o];
    for (int g = 1; g <= regions; ++g) {
        if (!inputs_of(grids[g], position, Base<R>{encoding, base_raw, width}, x)) continue;
        spoken = true;
        add_outputs(grids[g], x, raw);
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
        render_rays_kernel<R><<<blocks_of(n, THREADS), THREADS, 0, stream>>>(origins, directions, shifts, n, step, near,
                                                                            occupancy, side, grids, regions, empty, stop,
                                                                            color, alpha, depth, used);
}

#define I3D_INSTANTIATE(R)                                                                                             \
    template void render_rays_cuda<R>(const R*, const R*, const R*, int64_t, R, R, const uint8_t*, int,                 \
                                      const CudaGrid<R>*, int, R, R, R*, R*, R*, int32_t*, cudaStream_t);
I3D_INSTANTIATE(float)
I3D_INSTANTIATE(double)

}  // namespace i3d
