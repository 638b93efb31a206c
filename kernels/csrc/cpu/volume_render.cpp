// CPU launchers of volume_render.h. A ray is one task's own, so nothing depends on the number of threads.
#include "volume_render.h"

#include <algorithm>

namespace i3d {
namespace {

constexpr int64_t RAYS = 64;     // of one task
constexpr int64_t SAMPLES = 512;  // that a rendering task evaluates at a time

template <class R>
struct Activated {
    R density, color[3];
};

template <class R>
Activated<R> activate(const R* raw) {
    Activated<R> out;
    out.density = std::exp(std::min(raw[0], R(RAW_MAX)));
    for (int c = 0; c < 3; ++c) out.color[c] = 1 / (1 + std::exp(-raw[1 + c]));
    return out;
}

template <class R>
R shift_of(const Rays<R>& rays, int64_t ray) {
    return rays.shifts ? rays.shifts[ray] : R(0.5);
}

template <class R>
March<R> march_of(const Rays<R>& rays, int64_t ray) {
    return begin_march(rays.origins + ray * 3, rays.directions + ray * 3, rays.step, shift_of(rays, ray), rays.near);
}

template <class Body>
void for_rays(int64_t n, const Parallel& parallel, const Body& body) {
    parallel((n + RAYS - 1) / RAYS, [&](int64_t task) {
        for (int64_t ray = task * RAYS; ray < std::min(n, (task + 1) * RAYS); ++ray) body(ray);
    });
}

}  // namespace

template <class R>
void march_count(Rays<R> rays, const uint8_t* occupancy, int32_t side, const int32_t* limits, int64_t* counts,
                 const Parallel& parallel) {
    for_rays(rays.count, parallel, [&](int64_t ray) {
        const March<R> march = march_of(rays, ray);
        const int64_t limit = limits ? limits[ray] : INT64_MAX;
        R position[3];
        int64_t count = 0;
        for (int64_t k = 0; count < limit && (k = next_sample(march, occupancy, side, k, position)) >= 0; ++k) ++count;
        counts[ray] = count;
    });
}

template <class R>
void march_fill(Rays<R> rays, const uint8_t* occupancy, int32_t side, const int64_t* offsets, R* times, R* positions,
                const Parallel& parallel) {
    for_rays(rays.count, parallel, [&](int64_t ray) {
        const March<R> march = march_of(rays, ray);
        int64_t k = 0;
        for (int64_t i = offsets[ray]; i < offsets[ray + 1]; ++i, ++k) {
            k = next_sample(march, occupancy, side, k, positions + i * 3);
            times[i] = march.time(k);
        }
    });
}

template <class R>
void composite_forward(const R* raw, const R* times, const int64_t* offsets, int64_t n, R step, R stop, R* color,
                       R* alpha, R* depth, R* weights, const Parallel& parallel) {
    for_rays(n, parallel, [&](int64_t ray) {
        R transmittance = 1, sum[4] = {0, 0, 0, 0};
        for (int64_t i = offsets[ray]; i < offsets[ray + 1]; ++i) {
            weights[i] = 0;
            if (transmittance <= stop) continue;
            const Activated<R> s = activate(raw + i * OUTPUTS);
            const R weight = -std::expm1(-s.density * step) * transmittance;
            weights[i] = weight;
            for (int c = 0; c < 3; ++c) sum[c] += weight * s.color[c];
            sum[3] += weight * times[i];
            transmittance -= weight;
        }
        for (int c = 0; c < 3; ++c) color[ray * 3 + c] = sum[c];
        alpha[ray] = 1 - transmittance;
        depth[ray] = sum[3];
    });
}

template <class R>
void composite_backward(const R* raw, const R* times, const int64_t* offsets, int64_t n, R step, R stop,
                        const R* grad_color, const R* grad_alpha, const R* grad_depth, R* grad_raw,
                        const Parallel& parallel) {
    for_rays(n, parallel, [&](int64_t ray) {
        const R zero[3] = {0, 0, 0};
        const R* gc = grad_color ? grad_color + ray * 3 : zero;
        const R ga = grad_alpha ? grad_alpha[ray] : R(0), gd = grad_depth ? grad_depth[ray] : R(0);
        const auto worth = [&](const Activated<R>& s, int64_t i) {
            return gc[0] * s.color[0] + gc[1] * s.color[1] + gc[2] * s.color[2] + ga + gd * times[i];
        };
        // What all samples give together, so that what lies behind a sample is the rest of a running sum.
        R total = 0, transmittance = 1;
        for (int64_t i = offsets[ray]; i < offsets[ray + 1] && transmittance > stop; ++i) {
            const Activated<R> s = activate(raw + i * OUTPUTS);
            const R weight = -std::expm1(-s.density * step) * transmittance;
            total += weight * worth(s, i);
            transmittance -= weight;
        }
        transmittance = 1;
        for (int64_t i = offsets[ray]; i < offsets[ray + 1]; ++i) {
            R* g = grad_raw + i * OUTPUTS;
            if (transmittance <= stop) {
                std::fill(g, g + OUTPUTS, R(0));
                continue;
            }
            const Activated<R> s = activate(raw + i * OUTPUTS);
            const R weight = -std::expm1(-s.density * step) * transmittance;
            const R value = worth(s, i);
            total -= weight * value;
            transmittance -= weight;
            g[0] = raw[i * OUTPUTS] < R(RAW_MAX) ? step * s.density * (value * transmittance - total) : R(0);
            for (int c = 0; c < 3; ++c) g[1 + c] = weight * gc[c] * s.color[c] * (1 - s.color[c]);
        }
    });
}

namespace {

// The rays of one rendering task, advanced together in rounds, so that the network works on full blocks.
template <class R>
struct Bundle {
    const Rays<R>& rays;
    const uint8_t* occupancy;
    int32_t side;
    const Grid<R>& base;
    const std::vector<Grid<R>>& regions;
    R empty, stop;
    int64_t first, count;
    std::vector<int64_t> alive;
    March<R> march[RAYS];
    int64_t next[RAYS];
    R transmittance[RAYS], sum[RAYS][4];
    int32_t used[RAYS];
    std::vector<R> positions, raw, encoding, times, residual;
    std::vector<int32_t> owner, rows;

    void run() {
        const size_t width = base.encoded();
        positions.resize(SAMPLES * 3), raw.resize(SAMPLES * OUTPUTS), residual.resize(SAMPLES * OUTPUTS);
        times.resize(SAMPLES), encoding.resize(regions.empty() ? 0 : SAMPLES * width);
        for (int64_t i = 0; i < count; ++i) {
            march[i] = march_of(rays, first + i);
            next[i] = 0, used[i] = 0, transmittance[i] = 1;
            std::fill(sum[i], sum[i] + 4, R(0));
            alive.push_back(i);
        }
        while (!alive.empty()) {
            gather();
            evaluate(int64_t(owner.size()));
            blend();
        }
    }

    // Up to a few samples of each ray that is alive; rays that leave the box are dropped.
    void gather() {
        owner.clear();
        const int64_t each = std::clamp<int64_t>(SAMPLES / int64_t(alive.size()) / 2, 4, 16);
        std::vector<int64_t> still;
        for (int64_t i : alive) {
            bool on = true;
            for (int64_t j = 0; j < each && on; ++j) {
                R* position = positions.data() + owner.size() * 3;
                const int64_t k = next_sample(march[i], occupancy, side, next[i], position);
                on = k >= 0;
                if (!on) break;
                times[owner.size()] = march[i].time(k);
                owner.push_back(int32_t(i));
                next[i] = k + 1;
            }
            if (on) still.push_back(i);
        }
        alive.swap(still);
    }

    void list(const Grid<R>& grid, int64_t n) {
        rows.clear();
        for (int64_t s = 0; s < n; ++s) {
            const R* p = positions.data() + s * 3;
            if (!grid.mask || inside_grid(grid.box, grid.mask, grid.mask_side, p[0], p[1], p[2]))
                rows.push_back(int32_t(s));
        }
    }

    void evaluate(int64_t n) {
        for (int64_t s = 0; s < n; ++s) {
            raw[s * OUTPUTS] = 0;
            for (int c = 1; c < OUTPUTS; ++c) raw[s * OUTPUTS + c] = 0;
        }
        list(base, n);
        for (int64_t s = 0; s < n; ++s) raw[s * OUTPUTS] = empty;
        for (int32_t s : rows) raw[int64_t(s) * OUTPUTS] = 0;
        std::fill(encoding.begin(), encoding.end(), R(0));
        network_forward_range(base, positions.data(), BaseRows<R>{}, rows.data(), 0, int64_t(rows.size()), raw.data(),
                              regions.empty() ? nullptr : encoding.data());
        // What no grid speaks of is nothing at all; where only regions do, they start from the empty density.
        std::vector<uint8_t> spoken(n, 0);
        for (int32_t s : rows) spoken[s] = 1;
        std::fill(residual.begin(), residual.end(), R(0));
        for (const Grid<R>& region : regions) {
            list(region, n);
            for (int32_t s : rows) spoken[s] = 1;
            network_forward_range(region, positions.data(), BaseRows<R>{encoding.data(), raw.data(), base.encoded()},
                                  rows.data(), 0, int64_t(rows.size()), residual.data(), static_cast<R*>(nullptr));
        }
        for (int64_t s = 0; s < n; ++s)
            if (!spoken[s])
                raw[s * OUTPUTS] = R(-1e4);
            else if (!regions.empty())
                for (int c = 0; c < OUTPUTS; ++c) raw[s * OUTPUTS + c] += residual[s * OUTPUTS + c];
    }

    void blend() {
        for (size_t s = 0; s < owner.size(); ++s) {
            const int64_t i = owner[s];
            if (transmittance[i] <= stop) continue;
            const Activated<R> a = activate(raw.data() + s * OUTPUTS);
            const R weight = -std::expm1(-a.density * rays.step) * transmittance[i];
            for (int c = 0; c < 3; ++c) sum[i][c] += weight * a.color[c];
            sum[i][3] += weight * times[s];
            transmittance[i] -= weight;
            ++used[i];
        }
        std::erase_if(alive, [&](int64_t i) { return transmittance[i] <= stop; });
    }
};

}  // namespace

template <class R>
void render_rays(Rays<R> rays, const uint8_t* occupancy, int32_t side, const Grid<R>& base,
                 const std::vector<Grid<R>>& regions, R empty, R stop, R* color, R* alpha, R* depth, int32_t* used,
                 const Parallel& parallel) {
    parallel((rays.count + RAYS - 1) / RAYS, [&](int64_t task) {
        Bundle<R> bundle{rays, occupancy, side, base, regions, empty, stop, task * RAYS,
                         std::min(RAYS, rays.count - task * RAYS), {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}};
        bundle.run();
        for (int64_t i = 0; i < bundle.count; ++i) {
            const int64_t ray = bundle.first + i;
            for (int c = 0; c < 3; ++c) color[ray * 3 + c] = bundle.sum[i][c];
            alpha[ray] = 1 - bundle.transmittance[i];
            depth[ray] = bundle.sum[i][3];
            used[ray] = bundle.used[i];
        }
    });
}

#define I3D_INSTANTIATE(R)                                                                                             \
    template void march_count<R>(Rays<R>, const uint8_t*, int32_t, const int32_t*, int64_t*, const Parallel&);         \
    template void march_fill<R>(Rays<R>, const uint8_t*, int32_t, const int64_t*, R*, R*, const Parallel&);            \
    template void composite_forward<R>(const R*, const R*, const int64_t*, int64_t, R, R, R*, R*, R*, R*,              \
                                       const Parallel&);                                                               \
    template void composite_backward<R>(const R*, const R*, const int64_t*, int64_t, R, R, const R*, const R*,         \
                                        const R*, R*, const Parallel&);                                                \
    template void render_rays<R>(Rays<R>, const uint8_t*, int32_t, const Grid<R>&, const std::vector<Grid<R>>&, R, R,  \
                                 R*, R*, R*, int32_t*, const Parallel&);
I3D_INSTANTIATE(float)
I3D_INSTANTIATE(double)

}  // namespace i3d
