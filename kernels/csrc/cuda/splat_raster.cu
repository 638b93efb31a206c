// CUDA launchers of the splat rasterizer: project, list and sort pairs of tile and blob, composite; and back.
// The arithmetic is in splat_project.h and splat_pixel.h, shared with the CPU.
#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_scan.cuh>
#include <stdexcept>
#include <string>

#include "splat_cover.h"
#include "splat_pixel.h"
#include "splat_raster_cuda.h"

namespace i3d {
namespace {

constexpr int TILE = 16;  // pixels; one thread each
constexpr int TILE_PIXELS = TILE * TILE;
constexpr int WARP = 32;
constexpr int THREADS = 256;  // of the kernels with a thread per blob
constexpr unsigned ALL = 0xffffffffu;
// Fields that compositing needs come first in a splat's row, and are read four at a time.
constexpr int QUADS = 3;
static_assert(DEPTH < 4 * QUADS && SPLAT_FIELDS % 4 == 0);

void check(cudaError_t error, const char* what) {
    if (error != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

template <class R>
struct Job {
    SplatInputs<R> in;
    int columns, rows;  // of tiles
    R log_alpha_min;

    __host__ __device__ int64_t tiles() const { return in.cameras * columns * rows; }
    __host__ __device__ int64_t splats() const { return in.cameras * in.blobs; }

    __device__ Camera<R> camera(int64_t index) const {
        return camera_from<R>(in.viewmats, in.intrinsics, index, R(in.width), R(in.height), R(in.near), R(in.far),
                              R(in.blur), R(in.alpha_min));
    }
    __device__ BlobShape<R> shape(int64_t blob) const {
        BlobShape<R> shape;
        shape_from<R>(in.means + 3 * blob, in.scales + 3 * blob, in.rotations + 4 * blob, shape);
        return shape;
    }
};

template <class R>
Job<R> job_of(const SplatInputs<R>& in) {
    const int columns = int((in.width + TILE - 1) / TILE), rows = int((in.height + TILE - 1) / TILE);
    if (in.cameras * in.blobs > INT32_MAX) throw std::runtime_error("splat_raster: more than 2^31 blobs over all cameras");
    return {in, columns, rows, log_two(R(in.alpha_min))};
}

template <class R>
struct alignas(16) Quad {
    R at[4];
};
// The quad in which a field lies, and its place there.
template <class R>
__device__ R field(const Quad<R>* row, int index) {
    return row[index / 4].at[index % 4];
}

__device__ uint32_t depth_bits(float depth) { return __float_as_uint(depth); }  // positive floats sort as their bits do
__device__ uint32_t depth_bits(double depth) { return __float_as_uint(float(depth)); }

// ---- a thread per camera and blob ------------------------------------------------------------------------------------

template <class R>
__global__ void project_kernel(Job<R> job, R* splats, int64_t* pairs) {
    const int64_t index = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (index >= job.splats()) return;
    const int64_t blob = index % job.in.blobs;
    R shift[2] = {R(0), R(0)};
    if (job.in.screen_probe != nullptr)
        for (int j = 0; j < 2; ++j) shift[j] = job.in.screen_probe[2 * index + j];
    R out[SPLAT_FIELDS];
    project<R>(job.shape(blob), job.in.colors + 3 * blob, job.in.opacities[blob], shift, job.camera(index / job.in.blobs), out);
    for (int f = 0; f < SPLAT_FIELDS; ++f) splats[index * SPLAT_FIELDS + f] = out[f];
    int64_t count = 0;
    if (out[RADIUS_X] >= R(0)) {
        const Cover<R, TILE, TILE> cover(out, int(job.in.width), int(job.in.height), job.log_alpha_min);
        for (int row = cover.first_row; row < cover.end_row; ++row) {
            int begin, end;
            cover.columns(row, begin, end);
            if (end >= begin) count += end - begin + 1;
        }
    }
    pairs[index] = count;
}

// A pair's key is its tile, then its depth. `ends` is the running sum of the pairs of each splat.
template <class R>
__global__ void list_kernel(Job<R> job, const R* splats, const int64_t* ends, uint64_t* keys, int32_t* values) {
    const int64_t index = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (index >= job.splats()) return;
    const R* s = splats + index * SPLAT_FIELDS;
    if (s[RADIUS_X] < R(0)) return;
    int64_t at = index == 0 ? 0 : ends[index - 1];
    const int64_t first_tile = index / job.in.blobs * job.columns * job.rows;
    const Cover<R, TILE, TILE> cover(s, int(job.in.width), int(job.in.height), job.log_alpha_min);
    for (int row = cover.first_row; row < cover.end_row; ++row) {
        int begin, end;
        cover.columns(row, begin, end);
        for (int column = begin; column <= end; ++column, ++at) {
            keys[at] = uint64_t(first_tile + int64_t(row) * job.columns + column) << 32 | depth_bits(s[DEPTH]);
            values[at] = int32_t(index);
        }
    }
}

// starts[tile] and starts[tile + 1] enclose a tile's pairs. Keeps the sorted values.
__global__ void starts_kernel(const uint64_t* keys, const int32_t* values, int64_t pairs, int64_t tiles, int32_t* starts,
                              int32_t* kept) {
    const int64_t index = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (index > pairs) return;
    if (index < pairs) kept[index] = values[index];
    const int64_t before = index == 0 ? -1 : int64_t(keys[index - 1] >> 32);
    const int64_t here = index == pairs ? tiles : int64_t(keys[index] >> 32);
    for (int64_t tile = before + 1; tile <= here; ++tile) starts[tile] = int32_t(index);
}

template <class R>
__global__ void project_backward_kernel(Job<R> job, const R* splats, const R* moments, SplatGrads<R> out) {
    const int64_t blob = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (blob >= job.in.blobs) return;
    const BlobShape<R> shape = job.shape(blob);
    ShapeGrad<R> grad = {};
    bool seen = false;
    for (int64_t c = 0; c < job.in.cameras; ++c) {
        const int64_t index = c * job.in.blobs + blob;
        const bool drawn = splats[index * SPLAT_FIELDS + RADIUS_X] >= R(0);
        seen |= drawn;
        R pixel[2];
        project_backward<R>(shape, job.in.opacities[blob], job.camera(c), drawn, moments + index * MOMENT_FIELDS, grad, pixel);
        if (out.screen_probe != nullptr)
            for (int j = 0; j < 2; ++j) out.screen_probe[2 * index + j] = pixel[j];
    }
    R scale[3], turn[4];
    shape_backward<R>(shape, grad, seen, scale, turn);
    for (int j = 0; j < 3; ++j) {
        out.means[3 * blob + j] = grad.mean[j];
        out.scales[3 * blob + j] = scale[j];
        out.colors[3 * blob + j] = grad.color[j];
    }
    for (int j = 0; j < 4; ++j) out.rotations[4 * blob + j] = turn[j];
    out.opacities[blob] = grad.opacity;
}

// ---- a thread per pixel ----------------------------------------------------------------------------------------------

struct PixelPlace {
    int64_t tile, pixel;  // pixel: in (c, h, w)
    int x, y;
    bool inside;
};

template <class R>
__device__ PixelPlace place(const Job<R>& job) {
    PixelPlace p;
    p.x = blockIdx.x * TILE + threadIdx.x;
    p.y = blockIdx.y * TILE + threadIdx.y;
    p.inside = p.x < job.in.width && p.y < job.in.height;
    p.tile = (int64_t(blockIdx.z) * job.rows + blockIdx.y) * job.columns + blockIdx.x;
    p.pixel = (int64_t(blockIdx.z) * job.in.height + p.y) * job.in.width + p.x;
    return p;
}

// log2(alpha) of a blob at a pixel; u and dy are the distances to its ridge and centre.
template <class R>
__device__ R log_alpha_at(const Quad<R>* blob, R x, R y, R& u, R& dy) {
    dy = y - field(blob, MEAN_Y);
    u = x - field(blob, MEAN_X) - field(blob, SLOPE) * dy;
    return field(blob, K) * u * u + (field(blob, Q) * dy * dy + field(blob, HEIGHT));
}

template <class R>
__device__ void fetch(const R* splats, int32_t index, Quad<R>* to) {
    const Quad<R>* from = reinterpret_cast<const Quad<R>*>(splats + int64_t(index) * SPLAT_FIELDS);
    for (int q = 0; q < QUADS; ++q) to[q] = from[q];
}

template <class R>
__global__ void __launch_bounds__(TILE_PIXELS)
forward_kernel(Job<R> job, const R* splats, const int32_t* values, const int32_t* starts, SplatPictures<R> out, R* transmittance,
               int32_t* last, R transmittance_min) {
    __shared__ Quad<R> batch[TILE_PIXELS][QUADS];
    const PixelPlace p = place(job);
    const int thread = threadIdx.y * TILE + threadIdx.x;
    const int64_t start = starts[p.tile];
    const int count = starts[p.tile + 1] - starts[p.tile];
    const R x = R(p.x) + R(0.5), y = R(p.y) + R(0.5);
    R t = R(1), color[3] = {R(0), R(0), R(0)}, depth = R(0);
    bool done = !p.inside;
    int seen = count;
    for (int base = 0; base < count; base += TILE_PIXELS) {
        if (__syncthreads_count(done) == TILE_PIXELS) break;
        if (base + thread < count) fetch(splats, values[start + base + thread], batch[thread]);
        __syncthreads();
        const int size = min(TILE_PIXELS, count - base);
        for (int k = 0; k < size && !done; ++k) {
            const Quad<R>* blob = batch[k];
            R u, dy;
            const R log_alpha = log_alpha_at(blob, x, y, u, dy);
            if (log_alpha < job.log_alpha_min) continue;
            const R weight = t * alpha_where<R>(log_alpha, true);
            const R after = t - weight;
            if (after <= transmittance_min) {
                done = true;
                seen = base + k;
                break;
            }
            t = after;
            for (int j = 0; j < 3; ++j) color[j] += weight * field(blob, RED + j);
            depth += weight * field(blob, DEPTH);
        }
    }
    if (!p.inside) return;
    transmittance[p.pixel] = t;
    last[p.pixel] = seen;
    out.alpha[p.pixel] = R(1) - t;
    out.depth[p.pixel] = depth;
    for (int j = 0; j < 3; ++j) {
        R behind = R(0);
        if (job.in.background != nullptr)
            behind = job.in.background[job.in.background_is_picture ? 3 * p.pixel + j : 3 * int64_t(blockIdx.z) + j];
        out.color[3 * p.pixel + j] = color[j] + t * behind;
    }
}

template <class R>
__device__ R warp_sum(R value) {
    for (int step = WARP / 2; step > 0; step /= 2) value += __shfl_xor_sync(ALL, value, step);
    return value;
}

// Sums over the warp of all moments at once: of two lanes that exchange, each goes on with one half of what both have, so
// that it takes 12 exchanges and not five for each moment. `moment` is the one whose sum this lane ends with, -1 for none.
struct Share {
    int moment;

    __device__ explicit Share(int lane) : moment(0) {
        int count = MOMENT_FIELDS, mine = MOMENT_FIELDS;
        for (int step = WARP / 2; step > 0; step /= 2) {
            const int half = (count + 1) / 2;
            if (lane & step) {
                moment += half;
                mine -= half;
            } else
                mine = min(mine, half);
            count = half;
        }
        if (mine <= 0) moment = -1;
    }
};

template <class R>
__device__ R warp_sums(R (&sums)[MOMENT_FIELDS], int lane) {
    int count = MOMENT_FIELDS;
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2) {
        const int half = (count + 1) / 2;
        const bool upper = lane & step;
#pragma unroll
        for (int i = 0; i < half; ++i) {
            const R low = sums[i], high = i + half < count ? sums[i + half] : R(0);
            sums[i] = (upper ? high : low) + __shfl_xor_sync(ALL, upper ? low : high, step);
        }
        count = half;
    }
    return sums[0];
}

template <class R>
__global__ void __launch_bounds__(TILE_PIXELS)
backward_kernel(Job<R> job, const R* splats, const int32_t* values, const int32_t* starts, SplatPictureGrads<R> picture,
                const R* transmittance, const int32_t* last, R* background, R* moments) {
    __shared__ Quad<R> batch[TILE_PIXELS][QUADS];
    __shared__ int32_t index[TILE_PIXELS];
    __shared__ int deepest;
    const PixelPlace p = place(job);
    const int thread = threadIdx.y * TILE + threadIdx.x;
    const int lane = thread % WARP;
    const Share share(lane);
    const R x = R(p.x) + R(0.5), y = R(p.y) + R(0.5);
    R d[3] = {R(0), R(0), R(0)}, d_depth = R(0), through = R(0);
    int seen = 0;
    PixelState<R> state{R(1), R(0)};
    if (p.inside) {
        state.transmittance = transmittance[p.pixel];
        seen = last[p.pixel];
        if (picture.alpha != nullptr) through = -picture.alpha[p.pixel];
        if (picture.depth != nullptr) d_depth = picture.depth[p.pixel];
        for (int j = 0; j < 3; ++j) {
            if (picture.color != nullptr) d[j] = picture.color[3 * p.pixel + j];
            if (job.in.background != nullptr)
                through += d[j] * job.in.background[job.in.background_is_picture ? 3 * p.pixel + j : 3 * int64_t(blockIdx.z) + j];
            if (background != nullptr && job.in.background_is_picture)
                background[3 * p.pixel + j] = state.transmittance * d[j];
        }
        state.behind = state.transmittance * through;
    }
    if (background != nullptr && !job.in.background_is_picture)
        for (int j = 0; j < 3; ++j) {
            const R sum = warp_sum(p.inside ? state.transmittance * d[j] : R(0));
            if (lane == 0) atomicAdd(background + 3 * int64_t(blockIdx.z) + j, sum);
        }

    if (thread == 0) deepest = 0;
    __syncthreads();
    atomicMax(&deepest, seen);
    __syncthreads();
    const int64_t start = starts[p.tile];
    for (int end = deepest; end > 0; end -= TILE_PIXELS) {
        const int base = max(0, end - TILE_PIXELS);
        __syncthreads();
        if (base + thread < end) {
            index[thread] = values[start + base + thread];
            fetch(splats, index[thread], batch[thread]);
        }
        __syncthreads();
        for (int k = end - base - 1; k >= 0; --k) {
            const Quad<R>* blob = batch[k];
            R u, dy;
            const R log_alpha = log_alpha_at(blob, x, y, u, dy);
            const bool hit = base + k < seen && log_alpha >= job.log_alpha_min;
            if (!__any_sync(ALL, hit)) continue;
            R sums[MOMENT_FIELDS] = {};
            if (hit) {
                const R value = d[0] * field(blob, RED) + d[1] * field(blob, GREEN) + d[2] * field(blob, BLUE) +
                                d_depth * field(blob, DEPTH);
                R weight;
                const R g = blend_backward<R>(log_alpha, true, value, state, weight);
                sums[G] = g;
                sums[G_Y] = g * dy;
                sums[G_YY] = g * dy * dy;
                sums[G_U] = g * u;
                sums[G_UU] = g * u * u;
                sums[G_UY] = g * u * dy;
                for (int j = 0; j < 3; ++j) sums[GRAD_RED + j] = weight * d[j];
                sums[GRAD_DEPTH] = weight * d_depth;
            }
            const R sum = warp_sums(sums, lane);
            if (share.moment >= 0) atomicAdd(moments + int64_t(index[k]) * MOMENT_FIELDS + share.moment, sum);
        }
    }
}

// ---- launchers -------------------------------------------------------------------------------------------------------

unsigned blocks_for(int64_t threads) { return unsigned((threads + THREADS - 1) / THREADS); }

// What is kept for the backward pass: where each tile's pairs begin, then the splats of all pairs.
struct Lists {
    int32_t *starts, *values;

    template <class R>
    Lists(const Job<R>& job, int32_t* kept) : starts(kept), values(kept + job.tiles() + 1) {}
};

// The pairs of tile and splat, by tile and then nearest first. `pairs` holds the count of each splat.
template <class R>
int32_t* list_pairs(const Job<R>& job, const R* splats, int64_t* pairs, DeviceMemory memory, DeviceMemory kept,
                    cudaStream_t stream) {
    int64_t* ends = memory.get<int64_t>(job.splats());
    size_t bytes = 0;
    check(cub::DeviceScan::InclusiveSum(nullptr, bytes, pairs, ends, int(job.splats()), stream), "splat_raster: scan");
    check(cub::DeviceScan::InclusiveSum(memory.get<char>(bytes), bytes, pairs, ends, int(job.splats()), stream),
          "splat_raster: scan");
    int64_t total = 0;
    check(cudaMemcpyAsync(&total, ends + job.splats() - 1, sizeof(total), cudaMemcpyDeviceToHost, stream), "splat_raster: copy");
    check(cudaStreamSynchronize(stream), "splat_raster: projection");
    if (total > INT32_MAX) throw std::runtime_error("splat_raster: more than 2^31 pairs of blob and tile");

    const size_t room = size_t(total > 0 ? total : 1);
    cub::DoubleBuffer<uint64_t> keys(memory.get<uint64_t>(room), memory.get<uint64_t>(room));
    cub::DoubleBuffer<int32_t> values(memory.get<int32_t>(room), memory.get<int32_t>(room));
    list_kernel<R><<<blocks_for(job.splats()), THREADS, 0, stream>>>(job, splats, ends, keys.Current(), values.Current());
    int bits = 32;
    while (int64_t(1) << (bits - 32) < job.tiles()) ++bits;
    bytes = 0;
    check(cub::DeviceRadixSort::SortPairs(nullptr, bytes, keys, values, int(total), 0, bits, stream), "splat_raster: sort");
    check(cub::DeviceRadixSort::SortPairs(memory.get<char>(bytes), bytes, keys, values, int(total), 0, bits, stream),
          "splat_raster: sort");
    const Lists lists(job, kept.get<int32_t>(job.tiles() + 1 + total));
    starts_kernel<<<blocks_for(total + 1), THREADS, 0, stream>>>(keys.Current(), values.Current(), total, job.tiles(), lists.starts,
                                                                 lists.values);
    check(cudaGetLastError(), "splat_raster: lists");
    return lists.starts;
}

template <class R>
dim3 pixel_grid(const Job<R>& job) {
    return dim3(unsigned(job.columns), unsigned(job.rows), unsigned(job.in.cameras));
}

}  // namespace

template <class R>
void splat_forward_cuda(const SplatInputs<R>& in, const SplatPictures<R>& out, const SplatSaved<R>& saved, DeviceMemory memory,
                        DeviceMemory kept, cudaStream_t stream) {
    const Job<R> job = job_of(in);
    int32_t* order = nullptr;
    if (in.blobs > 0) {
        int64_t* pairs = memory.get<int64_t>(job.splats());
        project_kernel<R><<<blocks_for(job.splats()), THREADS, 0, stream>>>(job, saved.splats, pairs);
        check(cudaGetLastError(), "splat_raster: projection");
        order = list_pairs(job, saved.splats, pairs, memory, kept, stream);
    } else {
        order = kept.get<int32_t>(job.tiles() + 1);
        check(cudaMemsetAsync(order, 0, (job.tiles() + 1) * sizeof(int32_t), stream), "splat_raster: lists");
    }
    const Lists lists(job, order);
    forward_kernel<R><<<pixel_grid(job), dim3(TILE, TILE), 0, stream>>>(
        job, saved.splats, lists.values, lists.starts, out, saved.transmittance, saved.last, R(in.transmittance_min));
    check(cudaGetLastError(), "splat_raster: compositing");
}

template <class R>
void splat_backward_cuda(const SplatInputs<R>& in, const SplatPictureGrads<R>& picture, const SplatSaved<R>& saved,
                         const SplatGrads<R>& out, DeviceMemory memory, cudaStream_t stream) {
    const Job<R> job = job_of(in);
    if (out.background != nullptr && !in.background_is_picture)
        check(cudaMemsetAsync(out.background, 0, 3 * in.cameras * sizeof(R), stream), "splat_raster: background");
    R* moments = memory.get<R>(job.splats() * MOMENT_FIELDS);
    if (in.blobs > 0)
        check(cudaMemsetAsync(moments, 0, job.splats() * MOMENT_FIELDS * sizeof(R), stream), "splat_raster: moments");
    const Lists lists(job, saved.order);
    backward_kernel<R><<<pixel_grid(job), dim3(TILE, TILE), 0, stream>>>(job, saved.splats, lists.values, lists.starts, picture,
                                                                        saved.transmittance, saved.last, out.background, moments);
    check(cudaGetLastError(), "splat_raster: compositing backward");
    if (in.blobs > 0) {
        project_backward_kernel<R><<<blocks_for(in.blobs), THREADS, 0, stream>>>(job, saved.splats, moments, out);
        check(cudaGetLastError(), "splat_raster: projection backward");
    }
}

template void splat_forward_cuda<float>(const SplatInputs<float>&, const SplatPictures<float>&, const SplatSaved<float>&,
                                        DeviceMemory, DeviceMemory, cudaStream_t);
template void splat_forward_cuda<double>(const SplatInputs<double>&, const SplatPictures<double>&, const SplatSaved<double>&,
                                         DeviceMemory, DeviceMemory, cudaStream_t);
template void splat_backward_cuda<float>(const SplatInputs<float>&, const SplatPictureGrads<float>&, const SplatSaved<float>&,
                                         const SplatGrads<float>&, DeviceMemory, cudaStream_t);
template void splat_backward_cuda<double>(const SplatInputs<double>&, const SplatPictureGrads<double>&,
                                          const SplatSaved<double>&, const SplatGrads<double>&, DeviceMemory, cudaStream_t);

}  // namespace i3d
