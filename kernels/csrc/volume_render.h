// Volume rendering: samples at even steps along rays where an occupancy grid is set, and their composition, front to back.
// The scene's box is the cube [-1, 1]^3. `raw` is what a field gives before its activations: density exp(raw), cut at
// RAW_MAX, and colour sigmoid(raw).
#pragma once

#include "field_network.h"

namespace i3d {

constexpr double RAW_MAX = 10.0;  // exp of it blocks all light within a thousandth of a scene unit

// Everything about one ray's lattice of samples: t of sample k is start + (k + shift) * step.
template <class R>
struct March {
    R origin[3], inverse[3], direction[3];
    R start, end, step, shift;

    I3D_INLINE R time(int64_t k) const { return start + (R(k) + shift) * step; }
};

template <class R>
I3D_INLINE March<R> begin_march(const R* origin, const R* direction, R step, R shift, R near) {
    March<R> m;
    m.start = near;
    m.end = R(1e30);
    m.step = step;
    m.shift = shift;
    for (int axis = 0; axis < 3; ++axis) {
        m.origin[axis] = origin[axis];
        m.direction[axis] = direction[axis];
        // A ray along a face never crosses the other two: a huge number behaves as infinity without becoming NaN.
        const R d = direction[axis];
        m.inverse[axis] = d > R(1e-12) || d < R(-1e-12) ? 1 / d : R(1e12);
        const R a = (-1 - origin[axis]) * m.inverse[axis], b = (1 - origin[axis]) * m.inverse[axis];
        m.start = larger(m.start, smaller(a, b));
        m.end = smaller(m.end, larger(a, b));
    }
    return m;
}

// The first sample at or after k that lies in a set cell, or -1. Skips only samples that surely lie in the same cell.
template <class R>
I3D_INLINE int64_t next_sample(const March<R>& m, const uint8_t* occupancy, int32_t side, int64_t k, R* position) {
    for (;;) {
        const R t = m.time(k);
        if (!(t < m.end)) return -1;
        int32_t cell[3];
        for (int axis = 0; axis < 3; ++axis) {
            position[axis] = m.origin[axis] + t * m.direction[axis];
            const R unit = smaller(larger((position[axis] + 1) * R(0.5), R(0)), R(1));
            R within;
            cell[axis] = cell_of(unit, side, within);
        }
        if (occupancy[(int64_t(cell[2]) * side + cell[1]) * side + cell[0]]) return k;
        R leave = m.end;
        for (int axis = 0; axis < 3; ++axis) {
            const R border = R(cell[axis] + (m.direction[axis] > 0)) * 2 / R(side) - 1;
            leave = smaller(leave, larger((border - m.origin[axis]) * m.inverse[axis], t));
        }
        const int64_t jump = int64_t((leave - m.start) / m.step - m.shift);
        k = jump > k + 1 ? jump : k + 1;
    }
}

template <class R>
struct Rays {
    const R* origins;     // (n, 3)
    const R* directions;  // (n, 3), of length one
    const R* shifts;      // (n) in 0 .. 1, or null: a half
    int64_t count;
    R step, near;
};

// How many samples each ray has, at most limits[ray] where limits is not null.
template <class R>
void march_count(Rays<R> rays, const uint8_t* occupancy, int32_t side, const int32_t* limits, int64_t* counts,
                 const Parallel& parallel);
// Times (m) and positions (m, 3) of the samples; those of ray i begin at offsets[i], and offsets[n] is their number.
template <class R>
void march_fill(Rays<R> rays, const uint8_t* occupancy, int32_t side, const int64_t* offsets, R* times, R* positions,
                const Parallel& parallel);

// raw (m, OUTPUTS) and times (m) to color (n, 3), alpha (n), depth (n) and weights (m). A ray is done once its
// transmittance is at or under `stop`; the samples behind have no weight and no gradient.
template <class R>
void composite_forward(const R* raw, const R* times, const int64_t* offsets, int64_t n, R step, R stop, R* color,
                       R* alpha, R* depth, R* weights, const Parallel& parallel);
template <class R>
void composite_backward(const R* raw, const R* times, const int64_t* offsets, int64_t n, R step, R stop,
                        const R* grad_color, const R* grad_alpha, const R* grad_depth, R* grad_raw,
                        const Parallel& parallel);

// March, field and composition together, without gradients; stops early, so hidden samples are never evaluated. `used` is
// how many samples each ray needed.
template <class R>
void render_rays(Rays<R> rays, const uint8_t* occupancy, int32_t side, const Grid<R>& base,
                 const std::vector<Grid<R>>& regions, R empty, R stop, R* color, R* alpha, R* depth, int32_t* used,
                 const Parallel& parallel);

}  // namespace i3d
