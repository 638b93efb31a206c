// CPU launchers of the splat rasterizer: project, sort, bin, composite; and back. Included once per number type.
#pragma once

#include <bit>
#include <cmath>
#include <type_traits>

#include "splat_tile.h"

namespace i3d {

constexpr int64_t BLOBS_PER_TASK = 512;

template <class R>
struct SplatJob {
    using V = typename VectorOf<R>::type;
    static constexpr int N = Traits<V>::lanes;

    const SplatInputs<R>& in;
    const SplatSaved<R>& saved;
    const Parallel& parallel;
    Grid grid;
    R log_alpha_min;
    std::vector<Camera<R>> cameras;
    std::vector<int64_t> drawn;  // per camera
    double entry_bound = 0;

    SplatJob(const SplatInputs<R>& in_, const SplatSaved<R>& saved_, const Parallel& parallel_)
        : in(in_), saved(saved_), parallel(parallel_), grid(in_.width, in_.height),
          log_alpha_min(log_two(R(in_.alpha_min))), drawn(in_.cameras) {
        for (int64_t c = 0; c < in.cameras; ++c) 
            cameras.push_back(camera_from<R>(in.viewmats, in.intrinsics, c, R(in.width), R(in.height), R(in.near), R(in.far),
                                             R(in.blur), R(in.alpha_min)));
    }

    // Blobs first to first + N - 1; past the end, the last one again.
    struct Loaded {
        BlobShape<V> shape;
        V color[3], opacity;
    };

    template <int WIDTH>
    void load_columns(const R* from, int64_t first, V out[WIDTH]) const {
        for (int lane = 0; lane < N; ++lane) {
            const R* row = from + WIDTH * std::min(first + lane, in.blobs - 1);
            for (int j = 0; j < WIDTH; ++j) out[j][lane] = row[j];
        }
    }
    template <int WIDTH>
    void store_columns(R* to, int64_t first, const V in_[WIDTH]) const {
        const int lanes = int(std::min<int64_t>(N, in.blobs - first));
        for (int lane = 0; lane < lanes; ++lane)
            for (int j = 0; j < WIDTH; ++j) to[WIDTH * (first + lane) + j] = in_[j][lane];
    }

    Loaded load_blobs(int64_t first) const {
        V mean[3] = {}, scale[3] = {}, turn[4] = {};
        Loaded blob = {};
        load_columns<3>(in.means, first, mean);
        load_columns<3>(in.scales, first, scale);
        load_columns<4>(in.rotations, first, turn);
        load_columns<3>(in.colors, first, blob.color);
        load_columns<1>(in.opacities, first, &blob.opacity);
        shape_from<V>(mean, scale, turn, blob.shape);
        return blob;
    }

    int64_t tasks() const { return (in.blobs + BLOBS_PER_TASK - 1) / BLOBS_PER_TASK; }

    void project_all() {
        std::vector<double> bound(tasks(), 0.0);
        parallel(tasks(), [&](int64_t task) {
            const int64_t end = std::min(in.blobs, (task + 1) * BLOBS_PER_TASK);
            for (int64_t first = task * BLOBS_PER_TASK; first < end; first += N) {
                const Loaded blob = load_blobs(first);
                for (int64_t c = 0; c < in.cameras; ++c) {
                    V shift[2] = {};
                    if (in.screen_probe) load_columns<2>(in.screen_probe + 2 * c * in.blobs, first, shift);
                    V out[SPLAT_FIELDS];
                    project<V>(blob.shape, blob.color, blob.opacity, shift, cameras[c], out);
                    store_columns<SPLAT_FIELDS>(saved.splats + c * in.blobs * SPLAT_FIELDS, first, out);
                    const V columns = smaller<V>(out[RADIUS_X] * R(2.0 / TILE_W) + R(2), splat<V>(R(grid.columns)));
                    const V rows = smaller<V>(out[RADIUS_Y] * R(2.0 / TILE_H) + R(2), splat<V>(R(grid.rows)));
                    bound[task] += double(lane_sum<V>(choose(out[RADIUS_X] > R(0), columns * rows, V{})));
                }
            }
        });
        entry_bound = std::accumulate(bound.begin(), bound.end(), 0.0);
    }

    // Nearest first, ties by index. Positive floats sort as their bits do.
    void sort_camera(int64_t c) {
        const R* splats = saved.splats + c * in.blobs * SPLAT_FIELDS;
        int32_t* order = saved.order + c * in.blobs;
        struct Key {
            std::conditional_t<std::is_same_v<R, float>, uint32_t, uint64_t> depth;
            int32_t blob;
        };
        std::unique_ptr<Key[]> keys(new Key[in.blobs]), spare(new Key[in.blobs]);
        int64_t count = 0;
        for (int64_t i = 0; i < in.blobs; ++i) {
            const R* s = splats + i * SPLAT_FIELDS;
            if (s[RADIUS_X] < R(0)) continue;
            keys[count++] = {std::bit_cast<decltype(Key::depth)>(s[DEPTH]), int32_t(i)};
        }
        drawn[c] = count;
        if constexpr (std::is_same_v<R, float>) {
            uint32_t counts[3][2048] = {};
            for (int64_t i = 0; i < count; ++i)
                for (int pass = 0; pass < 3; ++pass) ++counts[pass][keys[i].depth >> (11 * pass) & 2047];
            for (int pass = 0; pass < 3; ++pass) {
                uint32_t offset = 0;
                for (auto& bucket : counts[pass]) {
                    const uint32_t size = bucket;
                    bucket = offset;
                    offset += size;
                }
                for (int64_t i = 0; i < count; ++i) spare[counts[pass][keys[i].depth >> (11 * pass) & 2047]++] = keys[i];
                std::swap(keys, spare);
            }
        } else {
            std::stable_sort(keys.get(), keys.get() + count, [](const Key& a, const Key& b) { return a.depth < b.depth; });
        }
        for (int64_t i = 0; i < count; ++i) order[i] = keys[i].blob;
        std::fill(order + count, order + in.blobs, -1);
    }

    // The forward pass left the order; only the counts and the bound must be found again.
    void recall() {
        for (int64_t c = 0; c < in.cameras; ++c) {
            const int32_t* order = saved.order + c * in.blobs;
            drawn[c] = std::partition_point(order, order + in.blobs, [](int32_t blob) { return blob >= 0; }) - order;
        }
        std::vector<double> bound(tasks(), 0.0);
        parallel(tasks(), [&](int64_t task) {
            const int64_t end = std::min(in.blobs, (task + 1) * BLOBS_PER_TASK);
            for (int64_t c = 0; c < in.cameras; ++c)
                for (int64_t i = task * BLOBS_PER_TASK; i < end; ++i) {
                    const R* s = saved.splats + (c * in.blobs + i) * SPLAT_FIELDS;
                    if (s[RADIUS_X] > R(0))
                        bound[task] += std::min(double(s[RADIUS_X]) * 2 / TILE_W + 2, double(grid.columns)) *
                                       std::min(double(s[RADIUS_Y]) * 2 / TILE_H + 2, double(grid.rows));
                }
        });
        entry_bound = std::accumulate(bound.begin(), bound.end(), 0.0);
    }

    template <class F>
    void for_each_unit(const F& f) const {
        auto units = plan_bands<R>(entry_bound, grid, log_alpha_min, saved.splats, saved.order, in.blobs, in.cameras, drawn,
                                   parallel);
        for (auto& bands : units)
            f(Bins(std::move(bands), grid, log_alpha_min, saved.splats, saved.order, in.blobs, drawn, parallel));
    }

    TileBox box_of(const Bins& bins, int64_t tile) const {
        size_t b = bins.bands.size() - 1;
        while (bins.bands[b].first_tile > tile) --b;
        const Band& band = bins.bands[b];
        const int64_t local = tile - band.first_tile;
        const int64_t x = local % grid.columns * TILE_W, y = (band.row0 + local / grid.columns) * TILE_H;
        return {band.camera, x, y, std::min<int64_t>(TILE_W, in.width - x), std::min<int64_t>(TILE_H, in.height - y)};
    }

    const R* splats_of(const TileBox& box) const { return saved.splats + box.camera * in.blobs * SPLAT_FIELDS; }

    void forward(const SplatPictures<R>& out) {
        project_all();
        parallel(in.cameras, [&](int64_t c) { sort_camera(c); });
        for_each_unit([&](const Bins& bins) {
            const auto tiles = bins.by_length();
            parallel(bins.tiles, [&](int64_t task) {
                const int32_t tile = tiles[task];
                const TileBox box = box_of(bins, tile);
                TileForward<R> work;
                work.run(box, bins.entries.get() + bins.start[tile], int32_t(bins.start[tile + 1] - bins.start[tile]),
                         splats_of(box), log_alpha_min, R(in.transmittance_min));
                work.write(box, in, out, saved);
            });
        });
    }

    void backward(const SplatPictureGrads<R>& picture, const SplatGrads<R>& out) {
        recall();
        const int64_t fields = in.cameras * in.blobs * MOMENT_FIELDS;
        std::unique_ptr<R[]> moments(new R[fields]);
        parallel(tasks(), [&](int64_t task) {
            const int64_t share = BLOBS_PER_TASK * in.cameras * MOMENT_FIELDS;
            std::fill(moments.get() + task * share, moments.get() + std::min(fields, (task + 1) * share), R(0));
        });
        const bool one_color = out.background != nullptr && !in.background_is_picture;
        if (one_color) std::fill_n(out.background, 3 * in.cameras, R(0));
        for_each_unit([&](const Bins& bins) {
            const auto tiles = bins.by_length();
            std::unique_ptr<R[]> parts(new R[bins.slots * MOMENT_FIELDS]);
            std::vector<R> behind(one_color ? 3 * bins.tiles : 0);
            parallel(bins.tiles, [&](int64_t task) {
                const int32_t tile = tiles[task];
                const TileBox box = box_of(bins, tile);
                TileBackward<R> work;
                work.read(box, in, picture, saved, in.background_is_picture ? out.background : nullptr);
                work.run(box, bins.entries.get() + bins.start[tile], int32_t(bins.start[tile + 1] - bins.start[tile]),
                         splats_of(box), log_alpha_min, parts.get());
                if (one_color) std::copy_n(work.background, 3, behind.data() + 3 * tile);
            });
            if (one_color)
                for (int64_t tile = 0; tile < bins.tiles; ++tile)
                    for (int j = 0; j < 3; ++j) out.background[3 * box_of(bins, tile).camera + j] += behind[3 * tile + j];
            gather(bins, parts.get(), moments.get());
        });
        project_back(moments.get(), out);
    }

    // Adds each blob's parts, in the order of its tiles.
    void gather(const Bins& bins, const R* parts, R* moments) const {
        for (size_t b = 0; b < bins.bands.size(); ++b) {
            const int64_t camera = bins.bands[b].camera;
            const int64_t chunks = (drawn[camera] + BLOBS_PER_TASK - 1) / BLOBS_PER_TASK;
            parallel(chunks, [&](int64_t chunk) {
                const int64_t end = std::min(drawn[camera], (chunk + 1) * BLOBS_PER_TASK);
                const int32_t* order = saved.order + camera * in.blobs;
                const auto row_of = [&](int64_t rank) {
                    return moments + (camera * in.blobs + order[std::min(rank, drawn[camera] - 1)]) * MOMENT_FIELDS;
                };
                for (int64_t rank = chunk * BLOBS_PER_TASK; rank < end; ++rank) {
                    __builtin_prefetch(row_of(rank + 12), 1);
                    R* to = row_of(rank);
                    R sum[MOMENT_FIELDS];
                    std::copy_n(to, int(MOMENT_FIELDS), sum);
                    const R *part = parts + bins.first_slot[b][rank] * MOMENT_FIELDS, *last = parts + bins.first_slot[b][rank + 1] * MOMENT_FIELDS;
                    for (; part != last; part += MOMENT_FIELDS)
                        for (int f = 0; f < MOMENT_FIELDS; ++f) sum[f] += part[f];
                    std::copy_n(sum, int(MOMENT_FIELDS), to);
                }
            });
        }
    }

    void project_back(const R* moments, const SplatGrads<R>& out) const {
        parallel(tasks(), [&](int64_t task) {
            const int64_t end = std::min(in.blobs, (task + 1) * BLOBS_PER_TASK);
            for (int64_t first = task * BLOBS_PER_TASK; first < end; first += N) {
                const Loaded blob = load_blobs(first);
                ShapeGrad<V> grad = {};
                Mask<V> seen = {};
                for (int64_t c = 0; c < in.cameras; ++c) {
                    const R* splats = saved.splats + c * in.blobs * SPLAT_FIELDS;
                    V radius, m[MOMENT_FIELDS], pixel[2];
                    for (int lane = 0; lane < N; ++lane)
                        radius[lane] = splats[std::min(first + lane, in.blobs - 1) * SPLAT_FIELDS + RADIUS_X];
                    load_columns<MOMENT_FIELDS>(moments + c * in.blobs * MOMENT_FIELDS, first, m);
                    const Mask<V> drawn_here = radius >= R(0);
                    seen = seen | drawn_here;
                    project_backward<V>(blob.shape, blob.opacity, cameras[c], drawn_here, m, grad, pixel);
                    if (out.screen_probe) store_columns<2>(out.screen_probe + 2 * c * in.blobs, first, pixel);
                }
                V scale[3], turn[4];
                shape_backward<V>(blob.shape, grad, seen, scale, turn);
                store_columns<3>(out.means, first, grad.mean);
                store_columns<3>(out.scales, first, scale);
                store_columns<4>(out.rotations, first, turn);
                store_columns<3>(out.colors, first, grad.color);
                store_columns<1>(out.opacities, first, &grad.opacity);
            }
        });
    }
};

template <class R>
void splat_forward_cpu(const SplatInputs<R>& in, const SplatPictures<R>& out, const SplatSaved<R>& saved,
                       const Parallel& parallel) {
    SplatJob<R>(in, saved, parallel).forward(out);
}

template <class R>
void splat_backward_cpu(const SplatInputs<R>& in, const SplatPictureGrads<R>& picture, const SplatSaved<R>& saved,
                        const SplatGrads<R>& out, const Parallel& parallel) {
    SplatJob<R>(in, saved, parallel).backward(picture, out);
}

}  // namespace i3d
