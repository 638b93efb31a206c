// CPU launchers of field_network.h. Points are worked on in blocks of BLOCK, feature by feature, so that a register holds
// one feature of several points. Each sum is taken in an order that does not depend on the number of threads.
#include "field_network.h"

#include <algorithm>
#include <memory>

namespace i3d {
namespace {

constexpr int64_t CHUNK = 512;      // rows of a forward task, a multiple of BLOCK
constexpr int64_t PARTITIONS = 16;  // fixed: the network's gradient is summed within each, then over them in order
constexpr int ROWS = 6;             // of a matrix that are multiplied together: twelve sums hide an addition's latency
constexpr int EVEN = 2;             // rows of any matrix here come in pairs

template <class R>
using Wide = typename VectorOf<R>::type;

int round_up(int value, int step) { return (value + step - 1) / step * step; }

template <class R>
struct Corners {
    uint32_t entry[8][BLOCK];
    R weight[8][BLOCK];
};

// Entries and weights of the eight corners around each point of a block; units is (3, BLOCK).
template <class R>
void find_corners(const Level& level, const R* units, Corners<R>& out, R* slopes = nullptr) {
    int32_t cell[3][BLOCK];
    R within[3][BLOCK];
    for (int axis = 0; axis < 3; ++axis)
        for (int s = 0; s < BLOCK; ++s)
            cell[axis][s] = cell_of(units[axis * BLOCK + s], level.resolution, within[axis][s]);
    const uint32_t side = uint32_t(level.resolution) + 1, mask = level.entries - 1;
    for (int corner = 0; corner < 8; ++corner) {
        const uint32_t i = corner & 1, j = (corner >> 1) & 1, k = corner >> 2;
        uint32_t* entry = out.entry[corner];
        if (level.dense)
            for (int s = 0; s < BLOCK; ++s)
                entry[s] = (cell[0][s] + i) + side * ((cell[1][s] + j) + side * (cell[2][s] + k));
        else
            for (int s = 0; s < BLOCK; ++s)
                entry[s] = ((cell[0][s] + i) ^ ((cell[1][s] + j) * HASH_Y) ^ ((cell[2][s] + k) * HASH_Z)) & mask;
        for (int s = 0; s < BLOCK; ++s) {
            const R x = i ? within[0][s] : 1 - within[0][s];
            const R y = j ? within[1][s] : 1 - within[1][s];
            const R z = k ? within[2][s] : 1 - within[2][s];
            out.weight[corner][s] = x * y * z;
        }
        if (slopes != nullptr)  // (8, 3, BLOCK): derivative of the weight by each unit coordinate
            for (int s = 0; s < BLOCK; ++s) {
                const R x = i ? within[0][s] : 1 - within[0][s], dx = i ? level.resolution : -level.resolution;
                const R y = j ? within[1][s] : 1 - within[1][s], dy = j ? level.resolution : -level.resolution;
                const R z = k ? within[2][s] : 1 - within[2][s], dz = k ? level.resolution : -level.resolution;
                slopes[(corner * 3 + 0) * BLOCK + s] = dx * y * z;
                slopes[(corner * 3 + 1) * BLOCK + s] = x * dy * z;
                slopes[(corner * 3 + 2) * BLOCK + s] = x * y * dz;
            }
    }
}

// A table's entry as one small vector of F numbers.
template <class R, int F>
struct Entry {
    typedef R type __attribute__((vector_size(F * sizeof(R))));
};
template <class R>
struct Entry<R, 1> {
    using type = R;
};

template <class R, int F>
void encode_block(const Grid<R>& grid, const R* units, R* out) {
    using E = typename Entry<R, F>::type;
    Corners<R> corners;
    for (size_t l = 0; l < grid.levels.size(); ++l) {
        find_corners(grid.levels[l], units, corners);
        const R* table = grid.params + grid.levels[l].offset * F;
        for (int s = 0; s < BLOCK; ++s) {
            E sum{};
            for (int corner = 0; corner < 8; ++corner) {
                E entry;
                std::memcpy(&entry, table + int64_t(corners.entry[corner][s]) * F, sizeof(E));
                sum += corners.weight[corner][s] * entry;
            }
            R parts[F];
            std::memcpy(parts, &sum, sizeof(E));
            for (int f = 0; f < F; ++f) out[(l * F + f) * BLOCK + s] = parts[f];
        }
    }
}

// Gradient by the unit coordinates: grad is (encoded, BLOCK), out (3, BLOCK).
template <class R, int F>
void encode_slope(const Grid<R>& grid, const R* units, const R* grad, R* out) {
    Corners<R> corners;
    R slopes[8 * 3 * BLOCK];
    std::fill(out, out + 3 * BLOCK, R(0));
    for (size_t l = 0; l < grid.levels.size(); ++l) {
        find_corners(grid.levels[l], units, corners, slopes);
        const R* table = grid.params + grid.levels[l].offset * F;
        for (int corner = 0; corner < 8; ++corner)
            for (int s = 0; s < BLOCK; ++s) {
                const R* entry = table + int64_t(corners.entry[corner][s]) * F;
                R sum = 0;
                for (int f = 0; f < F; ++f) sum += entry[f] * grad[(l * F + f) * BLOCK + s];
                for (int axis = 0; axis < 3; ++axis)
                    out[axis * BLOCK + s] += sum * slopes[(corner * 3 + axis) * BLOCK + s];
            }
    }
}

// Adds the table gradient of one level for `count` points of a block; grad is (count, F).
template <class R, int F>
void scatter_block(const Level& level, const R* units, const R* grad, int count, R* grad_table) {
    using E = typename Entry<R, F>::type;
    Corners<R> corners;
    find_corners(level, units, corners);
    for (int s = 0; s < count; ++s) {
        E row;
        std::memcpy(&row, grad + s * F, sizeof(E));
        for (int corner = 0; corner < 8; ++corner) {
            R* to = grad_table + (level.offset + corners.entry[corner][s]) * F;
            E entry;
            std::memcpy(&entry, to, sizeof(E));
            entry += corners.weight[corner][s] * row;
            std::memcpy(to, &entry, sizeof(E));
        }
    }
}

// Calls body with the number of features as a constant.
template <class Body>
void with_features(int features, const Body& body) {
    switch (features) {
        case 1: return body(std::integral_constant<int, 1>());
        case 2: return body(std::integral_constant<int, 2>());
        case 4: return body(std::integral_constant<int, 4>());
        default: return body(std::integral_constant<int, 8>());
    }
}

// N rows of `multiply`.
template <int N, class R>
I3D_INLINE void multiply_rows(const R* matrix, int stride, const R* bias, const R* x, int k, R* out) {
    using V = Wide<R>;
    constexpr int lanes = Traits<V>::lanes;
    for (int column = 0; column < BLOCK; column += 2 * lanes) {
        V sum[N][2];
        for (int i = 0; i < N; ++i) sum[i][0] = sum[i][1] = splat<V>(bias ? bias[i] : R(0));
        for (int j = 0; j < k; ++j) {
            const V a = load<V>(x + j * BLOCK + column), b = load<V>(x + j * BLOCK + column + lanes);
            for (int i = 0; i < N; ++i) {
                const V weight = splat<V>(matrix[i * stride + j]);
                sum[i][0] += weight * a;
                sum[i][1] += weight * b;
            }
        }
        for (int i = 0; i < N; ++i) {
            store<V>(out + i * BLOCK + column, sum[i][0]);
            store<V>(out + i * BLOCK + column + lanes, sum[i][1]);
        }
    }
}

// Calls body(first row, how many as a constant) for all m rows; m is even.
template <class Body>
I3D_INLINE void by_rows(int m, const Body& body) {
    int row = 0;
    for (; row + ROWS <= m; row += ROWS) body(row, std::integral_constant<int, ROWS>());
    if (row + 4 <= m) body(row, std::integral_constant<int, 4>()), row += 4;
    if (row < m) body(row, std::integral_constant<int, 2>());
}

// out (m, BLOCK) = bias (m) + matrix (m, k; rows `stride` apart) * x (k, BLOCK); m is even.
template <class R>
void multiply(const R* matrix, int stride, const R* bias, const R* x, int m, int k, R* out) {
    by_rows(m, [&](int row, auto n) {
        multiply_rows<n()>(matrix + row * stride, stride, bias ? bias + row : nullptr, x, k, out + row * BLOCK);
    });
}

// N rows of `multiply_transposed`.
template <int N, class R>
I3D_INLINE void multiply_transposed_rows(const R* a, const R* x, int k, R* out) {
    using V = Wide<R>;
    constexpr int lanes = Traits<V>::lanes;
    for (int column = 0; column < k; column += 2 * lanes) {
        V sum[N][2];
        for (int i = 0; i < N; ++i)
            for (int half = 0; half < 2; ++half) sum[i][half] = load<V>(out + i * k + column + half * lanes);
        for (int s = 0; s < BLOCK; ++s) {
            const V left = load<V>(x + s * k + column), right = load<V>(x + s * k + column + lanes);
            for (int i = 0; i < N; ++i) {
                const V weight = splat<V>(a[i * BLOCK + s]);
                sum[i][0] += weight * left;
                sum[i][1] += weight * right;
            }
        }
        for (int i = 0; i < N; ++i)
            for (int half = 0; half < 2; ++half) store<V>(out + i * k + column + half * lanes, sum[i][half]);
    }
}

// out (m, k) += a (m, BLOCK) * x (BLOCK, k); m is even, k a multiple of two registers' lanes.
template <class R>
void multiply_transposed(const R* a, const R* x, int m, int k, R* out) {
    by_rows(m, [&](int row, auto n) { multiply_transposed_rows<n()>(a + row * BLOCK, x, k, out + row * k); });
}

// out (m, OUTPUTS, lanes) += the products of a (m, BLOCK) and b (OUTPUTS, BLOCK), lane by lane; summed over at the end.
template <class R>
void multiply_lanes(const R* a, const R* b, int m, R* out) {
    using V = Wide<R>;
    constexpr int lanes = Traits<V>::lanes;
    for (int i = 0; i < m; ++i) {
        V sum[OUTPUTS];
        for (int o = 0; o < OUTPUTS; ++o) sum[o] = load<V>(out + (i * OUTPUTS + o) * lanes);
        for (int s = 0; s < BLOCK; s += lanes) {
            const V left = load<V>(a + i * BLOCK + s);
            for (int o = 0; o < OUTPUTS; ++o) sum[o] += left * load<V>(b + o * BLOCK + s);
        }
        for (int o = 0; o < OUTPUTS; ++o) store<V>(out + (i * OUTPUTS + o) * lanes, sum[o]);
    }
}

template <class R>
void transpose(const R* from, int rows, int columns, int from_stride, int to_stride, R* to) {
    for (int row = 0; row < rows; ++row)
        for (int column = 0; column < columns; ++column) to[column * to_stride + row] = from[row * from_stride + column];
}

// Unit coordinates (3, BLOCK) of rows[begin ...]; a block that is not full repeats its last point.
template <class R>
void unit_block(const Grid<R>& grid, const R* positions, const int32_t* rows, int64_t begin, int count, R* units) {
    for (int s = 0; s < BLOCK; ++s) {
        const R* p = positions + int64_t(rows[begin + std::min(s, count - 1)]) * 3;
        for (int axis = 0; axis < 3; ++axis) units[axis * BLOCK + s] = (p[axis] - grid.box[axis]) / grid.box[3];
    }
}

// Fills the extra inputs (extra, BLOCK) from the base field's rows.
template <class R>
void extra_block(const BaseRows<R>& base, const int32_t* rows, int64_t begin, int count, R* x) {
    for (int s = 0; s < BLOCK; ++s) {
        const int64_t row = rows[begin + std::min(s, count - 1)];
        for (int j = 0; j < base.width; ++j) x[j * BLOCK + s] = base.encoding[row * base.width + j];
        for (int j = 0; j < OUTPUTS; ++j) x[(base.width + j) * BLOCK + s] = base.raw[row * OUTPUTS + j];
    }
}

template <class R>
struct Scratch {
    std::vector<R> memory;
    R* x;
    R* hidden;
    explicit Scratch(const Grid<R>& grid) : memory(size_t(grid.inputs() + grid.hidden) * BLOCK) {
        x = memory.data();
        hidden = x + grid.inputs() * BLOCK;
    }
};

template <class R>
void hidden_block(const Grid<R>& grid, const R* x, R* hidden) {
    multiply(grid.first(), grid.inputs(), grid.first_bias(), x, grid.hidden, grid.inputs(), hidden);
    for (int i = 0; i < grid.hidden * BLOCK; ++i) hidden[i] = hidden[i] > 0 ? hidden[i] : R(0);
}

// One block's backward pass through the network and, where wanted, through the encoding to the positions.
template <class R>
struct BackwardTask {
    const Grid<R>& grid;
    int inputs, padded, wide;  // inputs rounded up for rows, and for registers
    std::vector<R> first_turned, second_turned, x, rows, hidden, out, grad_hidden, grad_x, first, small;
    std::vector<R> second;  // (hidden, OUTPUTS, lanes)

    explicit BackwardTask(const Grid<R>& g)
        : grid(g), inputs(g.inputs()), padded(round_up(inputs, EVEN)), wide(round_up(inputs, 2 * Traits<Wide<R>>::lanes)) {
        const int h = g.hidden;
        first_turned.assign(size_t(padded) * h, R(0));
        transpose(g.first(), h, inputs, inputs, h, first_turned.data());
        second_turned.assign(size_t(h) * OUTPUTS, R(0));
        transpose(g.second(), OUTPUTS, h, h, OUTPUTS, second_turned.data());
        x.assign(size_t(inputs) * BLOCK, R(0));
        rows.assign(size_t(wide) * BLOCK, R(0));
        hidden.resize(size_t(h) * BLOCK);
        second.assign(size_t(h) * OUTPUTS * Traits<Wide<R>>::lanes, R(0));
        grad_hidden.resize(size_t(h) * BLOCK);
        out.resize(OUTPUTS * BLOCK);
        grad_x.resize(size_t(padded) * BLOCK);
        first.assign(size_t(h) * wide, R(0));
        small.assign(size_t(h) + OUTPUTS, R(0));
    }

    // Inputs in x, gradient of the outputs in out: leaves the inputs' gradient in grad_x and adds the network's.
    void block(bool want_params) {
        const int h = grid.hidden;
        hidden_block(grid, x.data(), hidden.data());
        multiply(second_turned.data(), OUTPUTS, static_cast<const R*>(nullptr), out.data(), h, OUTPUTS, grad_hidden.data());
        for (int i = 0; i < h * BLOCK; ++i) grad_hidden[i] = hidden[i] > 0 ? grad_hidden[i] : R(0);
        multiply(first_turned.data(), h, static_cast<const R*>(nullptr), grad_hidden.data(), padded, h, grad_x.data());
        if (!want_params) return;
        transpose(x.data(), inputs, BLOCK, BLOCK, wide, rows.data());
        multiply_transposed(grad_hidden.data(), rows.data(), h, wide, first.data());
        R* bias = small.data();
        for (int i = 0; i < h; ++i) bias[i] += block_sum(grad_hidden.data() + i * BLOCK);
        multiply_lanes(hidden.data(), out.data(), h, second.data());
        for (int i = 0; i < OUTPUTS; ++i) bias[h + i] += block_sum(out.data() + i * BLOCK);
    }

    static R block_sum(const R* values) {
        using V = Wide<R>;
        V sum{};
        for (int s = 0; s < BLOCK; s += Traits<V>::lanes) sum += load<V>(values + s);
        return lane_sum<V>(sum);
    }

    void add_network(R* grad) const {
        for (int i = 0; i < grid.hidden; ++i)
            for (int j = 0; j < inputs; ++j) *grad++ += first[size_t(i) * wide + j];
        using V = Wide<R>;
        const int h = grid.hidden;
        for (int i = 0; i < h; ++i) *grad++ += small[i];
        for (int o = 0; o < OUTPUTS; ++o)
            for (int i = 0; i < h; ++i)
                *grad++ += lane_sum<V>(load<V>(second.data() + (size_t(i) * OUTPUTS + o) * Traits<V>::lanes));
        for (int o = 0; o < OUTPUTS; ++o) *grad++ += small[h + o];
    }
};

// Adds the gradient of all tables; grad is (levels, count, features). One task owns one level, finest first.
template <class R, class Units>
void scatter_levels(const Grid<R>& grid, const Units& fill_units, const R* grad, int64_t count, R* grad_table,
                    const Parallel& parallel) {
    const int64_t levels = int64_t(grid.levels.size());
    parallel(levels, [&](int64_t task) {
        const int64_t l = levels - 1 - task;
        R units[3 * BLOCK];
        for (int64_t begin = 0; begin < count; begin += BLOCK) {
            const int size = int(std::min<int64_t>(BLOCK, count - begin));
            fill_units(begin, size, units);
            with_features(grid.features, [&](auto f) {
                scatter_block<R, f()>(grid.levels[l], units, grad + (l * count + begin) * f(), size, grad_table);
            });
        }
    });
}

}  // namespace

template <class R>
void encode_forward(const Grid<R>& grid, const R* units, int64_t n, R* out, const Parallel& parallel) {
    const int width = grid.encoded();
    parallel((n + CHUNK - 1) / CHUNK, [&](int64_t task) {
        std::vector<R> x(size_t(width) * BLOCK);
        R block[3 * BLOCK];
        for (int64_t begin = task * CHUNK; begin < std::min(n, (task + 1) * CHUNK); begin += BLOCK) {
            const int count = int(std::min<int64_t>(BLOCK, n - begin));
            for (int s = 0; s < BLOCK; ++s)
                for (int axis = 0; axis < 3; ++axis)
                    block[axis * BLOCK + s] =
                        std::clamp(units[(begin + std::min(s, count - 1)) * 3 + axis], R(0), R(1));
            with_features(grid.features, [&](auto f) { encode_block<R, f()>(grid, block, x.data()); });
            for (int s = 0; s < count; ++s)
                for (int j = 0; j < width; ++j) out[(begin + s) * width + j] = x[j * BLOCK + s];
        }
    });
}

template <class R>
void encode_backward(const Grid<R>& grid, const R* units, const R* grad, int64_t n, R* grad_table, R* grad_units,
                     const Parallel& parallel) {
    const int width = grid.encoded(), features = grid.features;
    const auto fill = [&](int64_t begin, int count, R* block) {
        for (int s = 0; s < BLOCK; ++s)
            for (int axis = 0; axis < 3; ++axis)
                block[axis * BLOCK + s] = std::clamp(units[(begin + std::min(s, count - 1)) * 3 + axis], R(0), R(1));
    };
    std::vector<R> by_level(grad_table ? size_t(n) * width : 0);
    parallel((n + CHUNK - 1) / CHUNK, [&](int64_t task) {
        std::vector<R> x(size_t(width) * BLOCK);
        R block[3 * BLOCK], slope[3 * BLOCK];
        for (int64_t begin = task * CHUNK; begin < std::min(n, (task + 1) * CHUNK); begin += BLOCK) {
            const int count = int(std::min<int64_t>(BLOCK, n - begin));
            for (int s = 0; s < count; ++s)
                for (int j = 0; j < width; ++j) {
                    const R value = grad[(begin + s) * width + j];
                    x[j * BLOCK + s] = value;
                    if (grad_table) by_level[(j / features * n + begin + s) * features + j % features] = value;
                }
            if (!grad_units) continue;
            fill(begin, count, block);
            with_features(features, [&](auto f) { encode_slope<R, f()>(grid, block, x.data(), slope); });
            for (int s = 0; s < count; ++s)
                for (int axis = 0; axis < 3; ++axis) {
                    const R unit = units[(begin + s) * 3 + axis];
                    grad_units[(begin + s) * 3 + axis] = unit >= 0 && unit <= 1 ? slope[axis * BLOCK + s] : R(0);
                }
        }
    });
    if (grad_table) scatter_levels(grid, fill, by_level.data(), n, grad_table, parallel);
}

template <class R>
std::vector<int32_t> members(const Grid<R>& grid, const R* positions, int64_t n, const Parallel& parallel) {
    constexpr int64_t size = 8192;
    const int64_t tasks = (n + size - 1) / size;
    std::vector<std::vector<int32_t>> parts(tasks);
    parallel(tasks, [&](int64_t task) {
        const int64_t begin = task * size, end = std::min(n, begin + size);
        parts[task].reserve(end - begin);
        for (int64_t row = begin; row < end; ++row) {
            const R* p = positions + row * 3;
            if (!grid.mask || inside_grid(grid.box, grid.mask, grid.mask_side, p[0], p[1], p[2]))
                parts[task].push_back(int32_t(row));
        }
    });
    std::vector<int32_t> out;
    for (const auto& part : parts) out.insert(out.end(), part.begin(), part.end());
    return out;
}

template <class R>
void network_forward_range(const Grid<R>& grid, const R* positions, BaseRows<R> base, const int32_t* rows,
                           int64_t begin, int64_t end, R* raw, R* encoding) {
    Scratch<R> scratch(grid);
    R units[3 * BLOCK], out[OUTPUTS * BLOCK];
    const int width = grid.encoded();
    for (; begin < end; begin += BLOCK) {
        const int count = int(std::min<int64_t>(BLOCK, end - begin));
        unit_block(grid, positions, rows, begin, count, units);
        with_features(grid.features, [&](auto f) { encode_block<R, f()>(grid, units, scratch.x); });
        if (grid.extra) extra_block(base, rows, begin, count, scratch.x + width * BLOCK);
        hidden_block(grid, scratch.x, scratch.hidden);
        multiply(grid.second(), grid.hidden, grid.second_bias(), scratch.hidden, OUTPUTS, grid.hidden, out);
        for (int s = 0; s < count; ++s) {
            const int64_t row = rows[begin + s];
            for (int j = 0; j < OUTPUTS; ++j) raw[row * OUTPUTS + j] += out[j * BLOCK + s];
            if (encoding)
                for (int j = 0; j < width; ++j) encoding[row * width + j] = scratch.x[j * BLOCK + s];
        }
    }
}

template <class R>
void network_forward(const Grid<R>& grid, const R* positions, BaseRows<R> base, const int32_t* rows, int64_t count,
                     R* raw, R* encoding, const Parallel& parallel) {
    parallel((count + CHUNK - 1) / CHUNK, [&](int64_t task) {
        network_forward_range(grid, positions, base, rows, task * CHUNK, std::min(count, (task + 1) * CHUNK), raw, encoding);
    });
}

template <class R>
void network_backward(const Grid<R>& grid, const R* positions, BaseRows<R> base, const int32_t* rows, int64_t count,
                      const R* encoding, const R* grad_raw, const R* grad_encoding, Gradients<R> out,
                      const Parallel& parallel) {
    const int width = grid.encoded(), features = grid.features;
    const bool want_params = out.params != nullptr;
    // Written whole before it is read, so not cleared.
    const auto by_level = std::make_unique_for_overwrite<R[]>(want_params ? size_t(count) * width : 0);
    std::vector<std::vector<R>> networks(PARTITIONS);
    const int64_t blocks = (count + BLOCK - 1) / BLOCK;
    parallel(std::min(PARTITIONS, blocks), [&](int64_t task) {
        BackwardTask<R> work(grid);
        R units[3 * BLOCK], slope[3 * BLOCK];
        for (int64_t b = blocks * task / std::min(PARTITIONS, blocks); b < blocks * (task + 1) / std::min(PARTITIONS, blocks); ++b) {
            const int64_t begin = b * BLOCK;
            const int size = int(std::min<int64_t>(BLOCK, count - begin));
            unit_block(grid, positions, rows, begin, size, units);
            if (encoding)
                for (int s = 0; s < BLOCK; ++s) {
                    const R* from = encoding + int64_t(rows[begin + std::min(s, size - 1)]) * width;
                    for (int j = 0; j < width; ++j) work.x[j * BLOCK + s] = from[j];
                }
            else
                with_features(features, [&](auto f) { encode_block<R, f()>(grid, units, work.x.data()); });
            if (grid.extra) extra_block(base, rows, begin, size, work.x.data() + width * BLOCK);
            for (int s = 0; s < BLOCK; ++s)
                for (int j = 0; j < OUTPUTS; ++j)
                    work.out[j * BLOCK + s] =
                        grad_raw && s < size ? grad_raw[int64_t(rows[begin + s]) * OUTPUTS + j] : R(0);
            work.block(want_params);
            for (int s = 0; s < size; ++s) {
                const int64_t row = rows[begin + s];
                if (grad_encoding)
                    for (int j = 0; j < width; ++j) work.grad_x[j * BLOCK + s] += grad_encoding[row * width + j];
                if (want_params)
                    for (int j = 0; j < width; ++j)
                        by_level[(j / features * count + begin + s) * features + j % features] = work.grad_x[j * BLOCK + s];
                if (out.base_encoding)
                    for (int j = 0; j < base.width; ++j)
                        out.base_encoding[row * base.width + j] += work.grad_x[(width + j) * BLOCK + s];
                if (out.base_raw)
                    for (int j = 0; j < OUTPUTS; ++j)
                        out.base_raw[row * OUTPUTS + j] += work.grad_x[(width + base.width + j) * BLOCK + s];
            }
            if (!out.positions) continue;
            with_features(features, [&](auto f) { encode_slope<R, f()>(grid, units, work.grad_x.data(), slope); });
            for (int s = 0; s < size; ++s)
                for (int axis = 0; axis < 3; ++axis)
                    out.positions[int64_t(rows[begin + s]) * 3 + axis] += slope[axis * BLOCK + s] / grid.box[3];
        }
        if (want_params) {
            networks[task].assign(grid.network_size(), R(0));
            work.add_network(networks[task].data());
        }
    });
    if (!want_params) return;
    R* network = out.params + grid.entries() * features;
    for (const auto& part : networks)
        for (size_t i = 0; i < part.size(); ++i) network[i] += part[i];
    const auto fill = [&](int64_t begin, int size, R* units) { unit_block(grid, positions, rows, begin, size, units); };
    scatter_levels(grid, fill, by_level.get(), count, out.params, parallel);
}

#define I3D_INSTANTIATE(R)                                                                                             \
    template void encode_forward<R>(const Grid<R>&, const R*, int64_t, R*, const Parallel&);                           \
    template void encode_backward<R>(const Grid<R>&, const R*, const R*, int64_t, R*, R*, const Parallel&);            \
    template std::vector<int32_t> members<R>(const Grid<R>&, const R*, int64_t, const Parallel&);                      \
    template void network_forward<R>(const Grid<R>&, const R*, BaseRows<R>, const int32_t*, int64_t, R*, R*,           \
                                     const Parallel&);                                                                 \
    template void network_forward_range<R>(const Grid<R>&, const R*, BaseRows<R>, const int32_t*, int64_t, int64_t,    \
                                           R*, R*);                                                                    \
    template void network_backward<R>(const Grid<R>&, const R*, BaseRows<R>, const int32_t*, int64_t, const R*,        \
                                      const R*, const R*, Gradients<R>, const Parallel&);
I3D_INSTANTIATE(float)
I3D_INSTANTIATE(double)

}  // namespace i3d
