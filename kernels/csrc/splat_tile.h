// CPU: compositing of one tile, forward and backward, a register of pixels of one row at a time.
#pragma once

#include <algorithm>
#include <cstdint>

#include "splat_bins.h"
#include "splat_pixel.h"
#include "splat_raster.h"

namespace i3d {

// Where in the picture a tile lies.
struct TileBox {
    int64_t camera, x, y, width, height;
};

// The pixels of one tile that a blob reaches: a range of each row, and what the row's pixels share.
template <class R>
struct RowSpans {
    using V = typename VectorOf<R>::type;
    static constexpr int N = Traits<V>::lanes;
    static constexpr int SIZE = (TILE_H / N + 2) * N;
    using Int = typename Traits<V>::Int;

    int top, bottom;  // rows, both included
    alignas(64) Int first[SIZE];
    alignas(64) Int last[SIZE];
    alignas(64) R base[SIZE];    // log2(alpha) on the ridge
    alignas(64) R offset[SIZE];  // u of pixel x is x + offset
    alignas(64) R dy[SIZE];

    // Rounding may move an end by less than this, in pixels; pixels are tested again one by one.
    static constexpr R MARGIN = R(0.001);

    I3D_INLINE RowSpans(const R* s, const TileBox& box, R log_alpha_min) {
        const R centre = s[MEAN_Y] - R(box.y) - R(0.5);  // in rows of the tile
        top = int(std::max(centre - s[RADIUS_Y] + (R(1) - MARGIN), R(0)));
        bottom = int(std::min(std::max(centre + s[RADIUS_Y] + (R(1) + MARGIN), R(0)), R(box.height))) - 1;
        const R x = s[MEAN_X] - R(box.x) - R(0.5);
        const R edge = R(box.width - 1);
        for (int row = top; row <= bottom; row += N) {
            const V d = iota<V>() + (R(row) - centre);
            const V floor = s[Q] * d * d + s[HEIGHT];
            const V room = floor - log_alpha_min;
            const V half = root(larger<V>(room * s[INVERSE_K], V{}));
            const V middle = s[SLOPE] * d + x;
            const V from = smaller<V>(larger<V>(middle - half, V{}), splat<V>(edge + R(1)));
            V to = smaller<V>(larger<V>(middle + half, splat<V>(R(-1))), splat<V>(edge));
            to = choose(room >= R(-1e-3), to, splat<V>(R(-1)));
            using I = Mask<V>;
            const I begin = __builtin_convertvector(from + (R(1) - MARGIN), I);
            const I end = __builtin_convertvector(to + (R(1) + MARGIN), I) - 1;
            std::memcpy(first + (row - top), &begin, sizeof(I));
            std::memcpy(last + (row - top), &end, sizeof(I));
            store<V>(base + (row - top), floor);
            store<V>(offset + (row - top), V(-middle));
            store<V>(dy + (row - top), d);
        }
    }
};

template <class R>
struct TileForward {
    using V = typename VectorOf<R>::type;
    static constexpr int N = Traits<V>::lanes;
    static constexpr int STRIDE = TILE_W + N;  // the last register of a row may reach past its end
    enum { T, RED_SUM, GREEN_SUM, BLUE_SUM, DEPTH_SUM, PLANES };

    alignas(64) R rows[TILE_H][PLANES][STRIDE];  // a transmittance below zero marks a pixel that is done
    int32_t last[TILE_H][STRIDE];
    int alive[TILE_H];

    void run(const TileBox& box, const Entry* entries, int32_t count, const R* splats, R log_alpha_min,
             R transmittance_min) {
        int living = int(box.width * box.height);
        for (int y = 0; y < box.height; ++y) {
            for (int x = 0; x < STRIDE; ++x) {
                rows[y][T][x] = x < box.width ? R(1) : R(-1);
                rows[y][RED_SUM][x] = rows[y][GREEN_SUM][x] = rows[y][BLUE_SUM][x] = rows[y][DEPTH_SUM][x] = R(0);
                last[y][x] = count;
            }
            alive[y] = int(box.width);
        }
        for (int32_t i = 0; i < count && living > 0; ++i) {
            const R* s = splats + int64_t(entries[i].blob) * SPLAT_FIELDS;
            if (i + 4 < count) __builtin_prefetch(splats + int64_t(entries[i + 4].blob) * SPLAT_FIELDS);
            const RowSpans<R> spans(s, box, log_alpha_min);
            for (int y = spans.top; y <= spans.bottom; ++y)
                if (alive[y] > 0) living -= blend_row(y, i, s, spans, log_alpha_min, transmittance_min);
        }
    }

    // Returns how many pixels of the row it finished.
    I3D_INLINE int blend_row(int y, int32_t i, const R* s, const RowSpans<R>& spans, R log_alpha_min, R transmittance_min) {
        const int r = y - spans.top;
        const int end = int(spans.last[r]);
        const V k = splat<V>(s[K]), base = splat<V>(spans.base[r]);
        int finished = 0;
        for (int x = int(spans.first[r]); x <= end; x += N) {
            R* at = &rows[y][0][x];
            const V u = iota<V>() + (R(x) + spans.offset[r]);
            const V log_alpha = k * u * u + base;
            const V before = load<V>(at + T * STRIDE);
            const Mask<V> hit = (log_alpha >= log_alpha_min) & (before > R(0));
            if (!any(hit)) continue;
            const V alpha = alpha_where<V>(log_alpha, hit);
            V weight = before * alpha;
            V after = before - weight;
            const Mask<V> stop = hit & (after <= transmittance_min);
            if (uint32_t left = bits(stop)) {
                weight = choose(stop, V{}, weight);
                after = choose(stop, V(-before), after);
                for (; left != 0; left &= left - 1) {
                    last[y][x + __builtin_ctz(left)] = i;
                    ++finished;
                }
            }
            store<V>(at + T * STRIDE, after);
            store<V>(at + RED_SUM * STRIDE, load<V>(at + RED_SUM * STRIDE) + weight * s[RED]);
            store<V>(at + GREEN_SUM * STRIDE, load<V>(at + GREEN_SUM * STRIDE) + weight * s[GREEN]);
            store<V>(at + BLUE_SUM * STRIDE, load<V>(at + BLUE_SUM * STRIDE) + weight * s[BLUE]);
            store<V>(at + DEPTH_SUM * STRIDE, load<V>(at + DEPTH_SUM * STRIDE) + weight * s[DEPTH]);
        }
        alive[y] -= finished;
        return finished;
    }

    void write(const TileBox& box, const SplatInputs<R>& in, const SplatPictures<R>& out, const SplatSaved<R>& saved) {
        for (int y = 0; y < box.height; ++y) {
            const int64_t pixel = (box.camera * in.height + box.y + y) * in.width + box.x;
            for (int x = 0; x < box.width; ++x) {
                const R t = std::abs(rows[y][T][x]);
                saved.transmittance[pixel + x] = t;
                out.alpha[pixel + x] = R(1) - t;
                out.depth[pixel + x] = rows[y][DEPTH_SUM][x];
                saved.last[pixel + x] = last[y][x];
                rows[y][T][x] = t;
            }
            for (int x = 0; x < box.width; ++x) {
                out.color[3 * (pixel + x)] = rows[y][RED_SUM][x];
                out.color[3 * (pixel + x) + 1] = rows[y][GREEN_SUM][x];
                out.color[3 * (pixel + x) + 2] = rows[y][BLUE_SUM][x];
            }
            if (in.background == nullptr) continue;
            const R* behind = in.background + (in.background_is_picture ? 3 * pixel : 3 * box.camera);
            const int step = in.background_is_picture ? 3 : 0;
            for (int x = 0; x < box.width; ++x)
                for (int j = 0; j < 3; ++j) out.color[3 * (pixel + x) + j] += rows[y][T][x] * behind[step * x + j];
        }
    }
};

template <class R>
struct TileBackward {
    using V = typename VectorOf<R>::type;
    static constexpr int N = Traits<V>::lanes;
    static constexpr int STRIDE = TILE_W + N;
    enum { T, BEHIND, LAST, D_RED, D_GREEN, D_BLUE, D_DEPTH, PLANES };

    alignas(64) R rows[TILE_H][PLANES][STRIDE];
    int32_t row_last[TILE_H];
    R background[3];  // gradient of the camera's single background colour from this tile

    void read(const TileBox& box, const SplatInputs<R>& in, const SplatPictureGrads<R>& grads, const SplatSaved<R>& saved,
              R* background_picture) {
        background[0] = background[1] = background[2] = R(0);
        for (int y = 0; y < box.height; ++y) {
            const int64_t pixel = (box.camera * in.height + box.y + y) * in.width + box.x;
            row_last[y] = 0;
            for (int x = int(box.width); x < STRIDE; ++x)
                for (int plane = 0; plane < PLANES; ++plane) rows[y][plane][x] = R(0);
            for (int x = 0; x < box.width; ++x) {
                const R t = saved.transmittance[pixel + x];
                R d[3] = {R(0), R(0), R(0)}, behind = R(0);
                if (grads.color != nullptr)
                    for (int j = 0; j < 3; ++j) d[j] = grads.color[3 * (pixel + x) + j];
                if (in.background != nullptr) {
                    const R* b = in.background + 3 * (in.background_is_picture ? pixel + x : box.camera);
                    for (int j = 0; j < 3; ++j) behind += b[j] * d[j];
                }
                if (grads.alpha != nullptr) behind -= grads.alpha[pixel + x];
                if (background_picture != nullptr)
                    for (int j = 0; j < 3; ++j) background_picture[3 * (pixel + x) + j] = t * d[j];
                for (int j = 0; j < 3; ++j) background[j] += t * d[j];
                rows[y][T][x] = t;
                rows[y][BEHIND][x] = t * behind;
                rows[y][LAST][x] = R(saved.last[pixel + x]);
                rows[y][D_RED][x] = d[0];
                rows[y][D_GREEN][x] = d[1];
                rows[y][D_BLUE][x] = d[2];
                rows[y][D_DEPTH][x] = grads.depth != nullptr ? grads.depth[pixel + x] : R(0);
                row_last[y] = std::max(row_last[y], saved.last[pixel + x]);
            }
        }
    }

    // Leaves each entry's sums in moments[slot * MOMENT_FIELDS ...].
    void run(const TileBox& box, const Entry* entries, int32_t count, const R* splats, R log_alpha_min, R* moments) {
        const int32_t seen = *std::max_element(row_last, row_last + box.height);
        for (int32_t i = count - 1; i >= seen; --i)
            std::fill_n(moments + int64_t(entries[i].slot) * MOMENT_FIELDS, int(MOMENT_FIELDS), R(0));
        for (int32_t i = seen - 1; i >= 0; --i) {
            const R* s = splats + int64_t(entries[i].blob) * SPLAT_FIELDS;
            if (i >= 4) __builtin_prefetch(splats + int64_t(entries[i - 4].blob) * SPLAT_FIELDS);
            const RowSpans<R> spans(s, box, log_alpha_min);
            V sums[MOMENT_FIELDS] = {};
            for (int y = spans.top; y <= spans.bottom; ++y)
                if (i < row_last[y]) blend_row(y, R(i), s, spans, log_alpha_min, sums);
            R* to = moments + int64_t(entries[i].slot) * MOMENT_FIELDS;
            for (int f = 0; f < MOMENT_FIELDS; ++f) to[f] = lane_sum<V>(sums[f]);
        }
    }

    I3D_INLINE void blend_row(int y, R i, const R* s, const RowSpans<R>& spans, R log_alpha_min, V* sums) {
        const int r = y - spans.top;
        const int end = int(spans.last[r]);
        const V k = splat<V>(s[K]), base = splat<V>(spans.base[r]), dy = splat<V>(spans.dy[r]);
        for (int x = int(spans.first[r]); x <= end; x += N) {
            R* at = &rows[y][0][x];
            const V u = iota<V>() + (R(x) + spans.offset[r]);
            const V log_alpha = k * u * u + base;
            const Mask<V> hit = (log_alpha >= log_alpha_min) & (load<V>(at + LAST * STRIDE) > i);
            if (!any(hit)) continue;
            const V red = load<V>(at + D_RED * STRIDE), green = load<V>(at + D_GREEN * STRIDE);
            const V blue = load<V>(at + D_BLUE * STRIDE), depth = load<V>(at + D_DEPTH * STRIDE);
            const V value = red * s[RED] + green * s[GREEN] + blue * s[BLUE] + depth * s[DEPTH];
            PixelState<V> pixel{load<V>(at + T * STRIDE), load<V>(at + BEHIND * STRIDE)};
            V weight;
            const V g = blend_backward<V>(log_alpha, hit, value, pixel, weight);
            store<V>(at + T * STRIDE, pixel.transmittance);
            store<V>(at + BEHIND * STRIDE, pixel.behind);
            const V gu = g * u, gy = g * dy;
            sums[G] += g;
            sums[G_Y] += gy;
            sums[G_YY] += gy * dy;
            sums[G_U] += gu;
            sums[G_UU] += gu * u;
            sums[G_UY] += gu * dy;
            sums[GRAD_RED] += weight * red;
            sums[GRAD_GREEN] += weight * green;
            sums[GRAD_BLUE] += weight * blue;
            sums[GRAD_DEPTH] += weight * depth;
        }
    }
};

}  // namespace i3d
