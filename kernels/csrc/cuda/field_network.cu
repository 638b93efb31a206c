// The small network behind a grid's tables, forward and backward: a thread a point. A block's threads go through the hidden
// units and inputs together, a tile of weights in shared memory at a time; gradients of weights are sums over the block's points
// before they are added to memory.
#include "field_point.h"

namespace i3d {
namespace {

constexpr int ROWS = 32;    // hidden units of a tile; layouts have a multiple of it
constexpr int INPUTS = 32;  // of a tile
constexpr int PAD = 4;      // keeps rows aligned and neighbouring rows out of each other's banks
template <class R>
constexpr int POINTS = sizeof(R) == sizeof(float) ? 128 : 64;  // of a block: as shared memory allows

template <class R>
struct Network {
    Layers<R> at;
    const R* params;
    NetworkInputs<R> in;
    int own_width;
    int64_t n;

    Network(const CudaGrid<R>& grid, const NetworkInputs<R>& inputs, int64_t n_)
        : at(grid), params(grid.params), in(inputs), own_width(grid.encoded()), n(n_) {}

    __device__ R input(int64_t i, int j) const {
        if (j < own_width) return in.own[j * n + i];
        j -= own_width;
        if (j < in.base_width) return in.base[j * n + i];
        return in.raw[i * CUDA_OUTPUTS + j - in.base_width];
    }
};

template <class R>
struct alignas(16) Weights {
    R at[INPUTS][ROWS + PAD];
};

// The first layer's weights from hidden unit `row` and input `column` on; zeros beyond the inputs.
template <class R>
__device__ void stage(const Network<R>& net, int row, int column, Weights<R>& tile) {
    __syncthreads();
    for (int k = threadIdx.x; k < ROWS * INPUTS; k += POINTS<R>) {
        const int h = k / INPUTS, j = k % INPUTS;
        tile.at[j][h] = column + j < net.at.inputs ? net.params[net.at.first + int64_t(row + h) * net.at.inputs + column + j] : R(0);
    }
    __syncthreads();
}

// Hidden units from `row` on, before they are rectified.
template <class R>
__device__ void hidden_units(const Network<R>& net, int64_t i, bool here, int row, Weights<R>& tile, R (&unit)[ROWS]) {
#pragma unroll
    for (int h = 0; h < ROWS; ++h) unit[h] = net.params[net.at.first_bias + row + h];
    for (int column = 0; column < net.at.inputs; column += INPUTS) {
        stage(net, row, column, tile);
        const int size = min(INPUTS, net.at.inputs - column);
        for (int j = 0; j < size; ++j) {
            const R x = here ? net.input(i, column + j) : R(0);
#pragma unroll
            for (int h = 0; h < ROWS; ++h) unit[h] += tile.at[j][h] * x;
        }
    }
}

template <class R>
__global__ void __launch_bounds__(POINTS<R>) network_forward_kernel(Network<R> net, const uint8_t* members, R* raw) {
    __shared__ Weights<R> tile;
    const int64_t i = int64_t(blockIdx.x) * POINTS<R> + threadIdx.x;
    const bool here = i < net.n && members[i];
    if (!__syncthreads_or(here)) return;
    R out[CUDA_OUTPUTS], unit[ROWS];
    for (int o = 0; o < CUDA_OUTPUTS; ++o) out[o] = net.params[net.at.second_bias + o];
    for (int row = 0; row < net.at.hidden; row += ROWS) {
        hidden_units(net, i, here, row, tile, unit);
#pragma unroll
        for (int h = 0; h < ROWS; ++h) {
            const R value = larger(unit[h], R(0));
            for (int o = 0; o < CUDA_OUTPUTS; ++o) out[o] += net.params[net.at.second + o * net.at.hidden + row + h] * value;
        }
    }
    if (here)
        for (int o = 0; o < CUDA_OUTPUTS; ++o) raw[i * CUDA_OUTPUTS + o] += out[o];
}

// What the points of a block are summed from.
template <class R>
struct alignas(16) Sums {
    R rows[POINTS<R>][ROWS + PAD];    // of every point: its hidden units, then their gradients
    R inputs[INPUTS][POINTS<R> + PAD];
    R out[POINTS<R>][CUDA_OUTPUTS];   // gradients of every point's output
};

// Adds the second layer's gradients, and afterwards leaves the hidden units' own gradients in `unit` and in `sums.rows`.
template <class R>
__device__ void second_layer_backward(const Network<R>& net, int row, const R* out, Sums<R>& sums, R (&unit)[ROWS], R* grad_params) {
    const int thread = threadIdx.x;
    if (grad_params) {
#pragma unroll
        for (int h = 0; h < ROWS; ++h) sums.rows[thread][h] = larger(unit[h], R(0));
        __syncthreads();
        for (int k = thread; k < CUDA_OUTPUTS * ROWS; k += POINTS<R>) {
            const int o = k / ROWS, h = k % ROWS;
            R sum = 0;
            for (int p = 0; p < POINTS<R>; ++p) sum += sums.out[p][o] * sums.rows[p][h];
            atomicAdd(grad_params + net.at.second + o * net.at.hidden + row + h, sum);
        }
        __syncthreads();
    }
#pragma unroll
    for (int h = 0; h < ROWS; ++h) {
        R grad = 0;
        for (int o = 0; o < CUDA_OUTPUTS; ++o) grad += net.params[net.at.second + o * net.at.hidden + row + h] * out[o];
        unit[h] = unit[h] > 0 ? grad : R(0);
        if (grad_params) sums.rows[thread][h] = unit[h];
    }
    if (!grad_params) return;
    __syncthreads();
    if (thread < ROWS) {
        R sum = 0;
        for (int p = 0; p < POINTS<R>; ++p) sum += sums.rows[p][thread];
        atomicAdd(grad_params + net.at.first_bias + row + thread, sum);
    }
}

// Adds the gradients of a tile of the first layer's weights: each thread has some hidden units of one input.
template <class R>
__device__ void first_layer_backward(const Network<R>& net, int row, int column, const Sums<R>& sums, R* grad_params) {
    constexpr int MINE = ROWS * INPUTS / POINTS<R>;
    const int j = threadIdx.x / (ROWS / MINE), h = threadIdx.x % (ROWS / MINE) * MINE;
    R sum[MINE] = {};
    for (int p = 0; p < POINTS<R>; ++p)
#pragma unroll
        for (int k = 0; k < MINE; ++k) sum[k] += sums.inputs[j][p] * sums.rows[p][h + k];
    if (column + j < net.at.inputs)
        for (int k = 0; k < MINE; ++k)
            atomicAdd(grad_params + net.at.first + int64_t(row + h + k) * net.at.inputs + column + j, sum[k]);
}

// The first tile of hidden units writes the own encoding's gradient, the others add to it; several grids add to the rest.
template <class R>
__device__ void add_input_grad(const Network<R>& net, const InputGrads<R>& grads, int64_t i, int j, bool write, R value) {
    if (j < net.own_width) {
        if (grads.own) grads.own[j * net.n + i] = write ? value : grads.own[j * net.n + i] + value;
        return;
    }
    j -= net.own_width;
    if (j < net.in.base_width) {
        if (grads.base) grads.base[j * net.n + i] += value;
    } else if (grads.raw)
        grads.raw[i * CUDA_OUTPUTS + j - net.in.base_width] += value;
}

template <class R>
__global__ void __launch_bounds__(POINTS<R>)
network_backward_kernel(Network<R> net, const uint8_t* members, const R* grad_raw, R* grad_params, InputGrads<R> grads) {
    __shared__ Weights<R> tile;
    __shared__ Sums<R> sums;
    const int64_t i = int64_t(blockIdx.x) * POINTS<R> + threadIdx.x;
    const bool here = i < net.n && members[i];
    R out[CUDA_OUTPUTS], unit[ROWS];
    bool any = false;
    for (int o = 0; o < CUDA_OUTPUTS; ++o) {
        out[o] = here ? grad_raw[i * CUDA_OUTPUTS + o] : R(0);
        sums.out[threadIdx.x][o] = out[o];
        any |= out[o] != 0;
    }
    if (!__syncthreads_or(any)) {  // samples behind the surface
        if (here && grads.own)
            for (int j = 0; j < net.own_width; ++j) grads.own[j * net.n + i] = 0;
        return;
    }
    if (grad_params && threadIdx.x < CUDA_OUTPUTS) {
        R sum = 0;
        for (int p = 0; p < POINTS<R>; ++p) sum += sums.out[p][threadIdx.x];
        atomicAdd(grad_params + net.at.second_bias + threadIdx.x, sum);
    }
    for (int row = 0; row < net.at.hidden; row += ROWS) {
        hidden_units(net, i, here, row, tile, unit);
        second_layer_backward(net, row, out, sums, unit, grad_params);
        for (int column = 0; column < net.at.inputs; column += INPUTS) {
            stage(net, row, column, tile);
            for (int j = 0; j < INPUTS; ++j) {
                const bool real = here && column + j < net.at.inputs;
                if (grad_params) sums.inputs[j][threadIdx.x] = real ? net.input(i, column + j) : R(0);
                if (!real) continue;
                R grad = 0;
#pragma unroll
                for (int h = 0; h < ROWS; ++h) grad += tile.at[j][h] * unit[h];
                add_input_grad(net, grads, i, column + j, row == 0, grad);
            }
            if (!grad_params) continue;
            __syncthreads();
            first_layer_backward(net, row, column, sums, grad_params);
        }
    }
}

}  // namespace

template <class R>
void network_forward_cuda(const CudaGrid<R>& grid, const NetworkInputs<R>& inputs, const uint8_t* members, int64_t n, R* raw,
                          cudaStream_t stream) {
    if (!n) return;
    const Network<R> net(grid, inputs, n);
    network_forward_kernel<R><<<blocks_of(n, POINTS<R>), POINTS<R>, 0, stream>>>(net, members, raw);
}

template <class R>
void network_backward_cuda(const CudaGrid<R>& grid, const NetworkInputs<R>& inputs, const uint8_t* members, int64_t n,
                           const R* grad_raw, R* grad_params, const InputGrads<R>& grads, cudaStream_t stream) {
    if (!n) return;
    const Network<R> net(grid, inputs, n);
    network_backward_kernel<R><<<blocks_of(n, POINTS<R>), POINTS<R>, 0, stream>>>(net, members, grad_raw, grad_params, grads);
}

#define I3D_INSTANTIATE(R)                                                                                             \
    template void network_forward_cuda<R>(const CudaGrid<R>&, const NetworkInputs<R>&, const uint8_t*, int64_t, R*,     \
                                          cudaStream_t);                                                                \
    template void network_backward_cuda<R>(const CudaGrid<R>&, const NetworkInputs<R>&, const uint8_t*, int64_t, const R*, R*, \
                                           const InputGrads<R>&, cudaStream_t);
I3D_INSTANTIATE(float)
I3D_INSTANTIATE(double)

}  // namespace i3d
