// CPU: compositing of one tile, forward and backward, a register of pixels at a time.
//
// A register holds a block of 4 x 2 pixels (4 x 4 with AVX-512, 4 x 1 in float64 with AVX2). Small blocks fit small blobs
// better than runs of one row do, and since blocks never overlap, every access to the tile's buffer is aligned.
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

template <class R>
struct Blocks {
    using V = typename VectorOf<R>::type;
    static constexpr int N = Traits<V>::lanes;
    static constexpr int WIDE = N < 4 ? N : 4, HIGH = N / WIDE;
    static constexpr int COLUMNS = TILE_W / WIDE, ROWS = TILE_H / HIGH, COUNT = COLUMNS * ROWS;
    static_assert(TILE_W % WIDE == 0 && TILE_H % HIGH == 0);

    static I3D_INLINE V lane_x() {
        V v{};
        for (int lane = 0; lane < N; ++lane) v[lane] = R(lane % WIDE);
        return v;
    }
    static I3D_INLINE V lane_y() {
        V v{};
        for (int lane = 0; lane < N; ++lane) v[lane] = R(lane / WIDE);
        return v;
    }

    // Calls f(block, first lane, pixel offset in the picture, pixels) for every run of pixels of the tile.
    template <class F>
    static I3D_INLINE void each_run(const TileBox& box, int64_t picture_width, const F& f) {
        for (int y = 0; y < box.height; ++y)
            for (int x = 0; x < box.width; x += WIDE)
                if (x + WIDE <= box.width)  // a constant, which the compiler unrolls
                    f(y / HIGH * COLUMNS + x / WIDE, y % HIGH * WIDE, y * picture_width + x, WIDE);
                else
                    f(y / HIGH * COLUMNS + x / WIDE, y % HIGH * WIDE, y * picture_width + x, int(box.width) - x);
    }
};

// A blob's blocks in one tile. They are found one blob ahead of compositing, so that the processor has the short dependent
// steps (a root, a conversion, unpredictable counts) behind it when it needs them.
//
// A list entry says where the block's numbers begin in the tile's buffer, and for the block's first pixel its distances u
// to the ridge and dy to the centre. SIZE is how many numbers of a block lie in the buffer.
template <class R, int SIZE>
struct TouchedBlocks {
    using B = Blocks<R>;
    using V = typename B::V;
    static constexpr int N = B::N;
    static constexpr int CHUNK = 4;  // entries that are written at a time, wanted or not
    typedef R Numbers __attribute__((vector_size(CHUNK * sizeof(R))));
    typedef int32_t Places __attribute__((vector_size(CHUNK * sizeof(int32_t))));
    // Rounding may move an end by less than this, in pixels; pixels are tested again one by one.
    static constexpr R MARGIN = R(0.001);

    int32_t place[B::COUNT + CHUNK];
    R u[B::COUNT + CHUNK];
    R dy[B::COUNT + CHUNK];
    int count;

    // Rows of blocks with limit[row] <= index are left out.
    I3D_INLINE void find(const R* s, const TileBox& box, R log_alpha_min, const int32_t* limit, int32_t index) {
        using I = Mask<V>;
        using Int = typename Traits<V>::Int;
        const R centre = s[MEAN_Y] - R(int(box.y)) - R(0.5);  // in rows of the tile
        const int first_y = int(std::max(centre - s[RADIUS_Y] + (R(1) - MARGIN), R(0)));
        const int end_y = int(std::min(std::max(centre + s[RADIUS_Y] + (R(1) + MARGIN), R(0)), R(int(box.height))));
        const int top = first_y / B::HIGH, bottom = (end_y + B::HIGH - 1) / B::HIGH;
        const R x = s[MEAN_X] - R(int(box.x)) - R(0.5);
        const R edge = R(int(box.width));
        alignas(64) Int first_place[N], wanted[N];
        alignas(64) R first_u[N], first_dy[N];
        int found = 0;
        for (int row = top; row < bottom; row += N) {
            const V d0 = (iota<V>() + R(row)) * R(B::HIGH) - centre;
            // `from` is the first pixel, `to` one past the last, both before rounding.
            V from = splat<V>(edge), to = V{};
            for (int k = 0; k < B::HIGH; ++k) {
                const V d = d0 + R(k);
                const V room = s[Q] * d * d + (s[HEIGHT] - log_alpha_min);
                const V half = root(larger<V>(room * s[INVERSE_K], V{}));
                const V middle = s[SLOPE] * d + x;
                const I reached = room >= R(-1e-3);
                from = choose(reached, smaller<V>(from, middle - half), from);
                to = choose(reached, larger<V>(to, middle + half + R(1)), to);
            }
            const V first = larger<V>(from + (R(1) - MARGIN), V{});
            const V end = smaller<V>(to + MARGIN, splat<V>(edge));
            const I begin = __builtin_convertvector(first, I) / B::WIDE;
            const I past = (__builtin_convertvector(end, I) + (B::WIDE - 1)) / B::WIDE;
            const I rows_before = __builtin_convertvector(iota<V>(), I) + Int(row);
            store_whole(first_place, (rows_before * B::COLUMNS + begin) * SIZE);
            store_whole(wanted, past - begin);
            store<V>(first_dy, d0);
            store<V>(first_u, V(__builtin_convertvector(begin, V) * R(B::WIDE) - s[SLOPE] * d0 - x));
            const int rows = std::min(N, bottom - row);
            for (int r = 0; r < rows; ++r) {
                if (wanted[r] <= 0 || limit[row + r] <= index) continue;
                for (int k = 0; k < int(wanted[r]); k += CHUNK) {
                    put<Places>(place + found + k, Places{0, SIZE, 2 * SIZE, 3 * SIZE} + (int32_t(first_place[r]) + k * SIZE));
                    put<Numbers>(u + found + k, Numbers{0, B::WIDE, 2 * B::WIDE, 3 * B::WIDE} + (first_u[r] + R(k * B::WIDE)));
                    put<Numbers>(dy + found + k, Numbers{} + first_dy[r]);
                }
                found += int(wanted[r]);
            }
        }
        count = found;
    }

  private:
    template <class W, class T>
    static I3D_INLINE void put(T* to, W value) {
        typedef W Anywhere __attribute__((aligned(sizeof(T)), may_alias));
        *reinterpret_cast<Anywhere*>(to) = value;
    }
};

// A blob's numbers in every lane, and log2(alpha) of a block's pixels from them.
template <class R>
struct BlobLanes {
    using V = typename VectorOf<R>::type;
    V k, q, height, lane_u, lane_y;

    I3D_INLINE explicit BlobLanes(const R* s)
        : k(splat<V>(s[K])), q(splat<V>(s[Q])), height(splat<V>(s[HEIGHT])),
          lane_u(Blocks<R>::lane_x() - s[SLOPE] * Blocks<R>::lane_y()), lane_y(Blocks<R>::lane_y()) {}

    I3D_INLINE V log_alpha(V u, V dy) const { return k * u * u + (q * dy * dy + height); }
};

template <class R>
struct TileForward {
    using B = Blocks<R>;
    using V = typename B::V;
    static constexpr int N = B::N;
    enum { T, RED_SUM, GREEN_SUM, BLUE_SUM, DEPTH_SUM, PLANES };

    using Touched = TouchedBlocks<R, PLANES * N>;

    alignas(64) R pixels[B::COUNT][PLANES][N];  // a transmittance below zero marks a pixel that is done
    int32_t last[B::COUNT][N];
    int32_t alive[B::ROWS];  // pixels of a row of blocks that are not done
    int32_t living;          // of the tile

    void run(const TileBox& box, const Entry* entries, int32_t count, const R* splats, R log_alpha_min,
             R transmittance_min) {
        std::fill_n(&last[0][0], B::COUNT * N, count);
        std::fill_n(alive, B::ROWS, 0);
        for (auto& block : pixels) {
            std::fill_n(block[0], PLANES * N, R(0));
            std::fill_n(block[T], N, R(-1));
        }
        B::each_run(box, 0, [&](int block, int lane, int64_t, int run) {
            std::fill_n(pixels[block][T] + lane, run, R(1));
            alive[block / B::COLUMNS] += run;
        });
        living = int32_t(box.width * box.height);
        if (count == 0) return;
        const auto splat_of = [&](int32_t i) { return splats + int64_t(entries[std::min(i, count - 1)].blob) * SPLAT_FIELDS; };
        Touched ahead[2];
        ahead[0].find(splat_of(0), box, log_alpha_min, alive, 0);
        for (int32_t i = 0; i < count && living > 0; ++i) {
            __builtin_prefetch(splat_of(i + 6));
            ahead[(i + 1) & 1].find(splat_of(i + 1), box, log_alpha_min, alive, 0);
            blend(i, splat_of(i), ahead[i & 1], log_alpha_min, transmittance_min);
        }
    }

    I3D_INLINE void blend(int32_t i, const R* s, const Touched& blocks, R log_alpha_min, R transmittance_min) {
        const BlobLanes<R> blob(s);
        const V red = splat<V>(s[RED]), green = splat<V>(s[GREEN]), blue = splat<V>(s[BLUE]), depth = splat<V>(s[DEPTH]);
        for (int k = 0; k < blocks.count; ++k) {
            R* plane = &pixels[0][0][0] + blocks.place[k];
            const V log_alpha = blob.log_alpha(blob.lane_u + blocks.u[k], blob.lane_y + blocks.dy[k]);
            const V before = load<V>(plane + T * N);
            const Mask<V> hit = (log_alpha >= log_alpha_min) & (before > R(0));
            if (!any(hit)) continue;
            V weight = before * alpha_where<V>(log_alpha, hit);
            V after = before - weight;
            const Mask<V> stop = hit & (after <= transmittance_min);
            if (const uint32_t done = bits(stop)) {
                weight = choose(stop, V{}, weight);
                after = choose(stop, V(-before), after);
                finish(blocks.place[k] / (PLANES * N), done, i);
            }
            store<V>(plane + T * N, after);
            store<V>(plane + RED_SUM * N, load<V>(plane + RED_SUM * N) + weight * red);
            store<V>(plane + GREEN_SUM * N, load<V>(plane + GREEN_SUM * N) + weight * green);
            store<V>(plane + BLUE_SUM * N, load<V>(plane + BLUE_SUM * N) + weight * blue);
            store<V>(plane + DEPTH_SUM * N, load<V>(plane + DEPTH_SUM * N) + weight * depth);
        }
    }

    void finish(int32_t block, uint32_t done, int32_t i) {
        for (; done != 0; done &= done - 1) {
            last[block][__builtin_ctz(done)] = i;
            --alive[block / B::COLUMNS];
            --living;
        }
    }

    void write(const TileBox& box, const SplatInputs<R>& in, const SplatPictures<R>& out, const SplatSaved<R>& saved) {
        const int64_t corner = (box.camera * in.height + box.y) * in.width + box.x;
        const R black[3] = {R(0), R(0), R(0)};
        const R* behind = in.background == nullptr ? black : in.background + 3 * box.camera;
        B::each_run(box, in.width, [&](int block, int lane, int64_t offset, int run) {
            const auto& plane = pixels[block];
            const int64_t pixel = corner + offset;
            R* color = out.color + 3 * pixel;
            for (int x = 0; x < run; ++x) {
                const R t = std::abs(plane[T][lane + x]);
                const R* b = in.background_is_picture ? in.background + 3 * (pixel + x) : behind;
                saved.transmittance[pixel + x] = t;
                saved.last[pixel + x] = last[block][lane + x];
                out.alpha[pixel + x] = R(1) - t;
                out.depth[pixel + x] = plane[DEPTH_SUM][lane + x];
                for (int j = 0; j < 3; ++j) color[3 * x + j] = plane[RED_SUM + j][lane + x] + t * b[j];
            }
        });
    }
};

template <class R>
struct TileBackward {
    using B = Blocks<R>;
    using V = typename B::V;
    static constexpr int N = B::N;
    enum { T, BEHIND, LAST, D_RED, D_GREEN, D_BLUE, D_DEPTH, PLANES };

    using Touched = TouchedBlocks<R, PLANES * N>;

    alignas(64) R pixels[B::COUNT][PLANES][N];
    // Of the current blob: the blocks that it did touch, its weight there, and its gradient of log(alpha).
    alignas(64) R weights[B::COUNT][N], slopes[B::COUNT][N];
    int32_t hits[B::COUNT];
    int32_t row_last[B::ROWS];  // blobs from this index on touch no pixel of the row of blocks
    R background[3];            // gradient of the camera's single background colour from this tile

    void read(const TileBox& box, const SplatInputs<R>& in, const SplatPictureGrads<R>& grads, const SplatSaved<R>& saved,
              R* background_picture) {
        std::fill_n(background, 3, R(0));
        std::fill_n(row_last, B::ROWS, 0);
        std::fill_n(&pixels[0][0][0], B::COUNT * PLANES * N, R(0));
        const int64_t corner = (box.camera * in.height + box.y) * in.width + box.x;
        const R black[3] = {R(0), R(0), R(0)};
        const R* behind = in.background == nullptr ? black : in.background + 3 * box.camera;
        B::each_run(box, in.width, [&](int block, int lane, int64_t offset, int run) {
            auto& plane = pixels[block];
            const int64_t pixel = corner + offset;
            for (int x = 0; x < run; ++x) {
                const R t = saved.transmittance[pixel + x];
                R through = grads.alpha == nullptr ? R(0) : -grads.alpha[pixel + x];
                if (grads.color != nullptr) {
                    const R* color = grads.color + 3 * (pixel + x);
                    const R* b = in.background_is_picture ? in.background + 3 * (pixel + x) : behind;
                    for (int j = 0; j < 3; ++j) {
                        plane[D_RED + j][lane + x] = color[j];
                        through += color[j] * b[j];
                        background[j] += t * color[j];
                    }
                    if (background_picture != nullptr)
                        for (int j = 0; j < 3; ++j) background_picture[3 * (pixel + x) + j] = t * color[j];
                } else if (background_picture != nullptr) {
                    std::fill_n(background_picture + 3 * (pixel + x), 3, R(0));
                }
                if (grads.depth != nullptr) plane[D_DEPTH][lane + x] = grads.depth[pixel + x];
                plane[T][lane + x] = t;
                plane[BEHIND][lane + x] = t * through;
                plane[LAST][lane + x] = R(saved.last[pixel + x]);
                row_last[block / B::COLUMNS] = std::max(row_last[block / B::COLUMNS], saved.last[pixel + x]);
            }
        });
    }

    // Leaves each entry's sums in moments[slot * MOMENT_FIELDS ...].
    void run(const TileBox& box, const Entry* entries, int32_t count, const R* splats, R log_alpha_min, R* moments) {
        const int32_t seen = *std::max_element(row_last, row_last + B::ROWS);
        for (int32_t i = count - 1; i >= seen; --i)
            std::fill_n(moments + int64_t(entries[i].slot) * MOMENT_FIELDS, int(MOMENT_FIELDS), R(0));
        if (seen == 0) return;
        const auto splat_of = [&](int32_t i) { return splats + int64_t(entries[std::max(i, 0)].blob) * SPLAT_FIELDS; };
        Touched ahead[2];
        ahead[(seen - 1) & 1].find(splat_of(seen - 1), box, log_alpha_min, row_last, seen - 1);
        for (int32_t i = seen - 1; i >= 0; --i) {
            __builtin_prefetch(splat_of(i - 6));
            ahead[(i + 1) & 1].find(splat_of(i - 1), box, log_alpha_min, row_last, i - 1);
            blend(R(i), splat_of(i), ahead[i & 1], log_alpha_min, moments + int64_t(entries[i].slot) * MOMENT_FIELDS);
        }
    }

    // In two passes, for want of registers: the first steps through the pixels' states, the second sums up.
    I3D_INLINE void blend(R i, const R* s, const Touched& blocks, R log_alpha_min, R* out) {
        const int touched = step(i, s, blocks, log_alpha_min);
        V sums[MOMENT_FIELDS] = {};
        const BlobLanes<R> blob(s);
        for (int k = 0; k < touched; ++k) {
            const R* plane = &pixels[0][0][0] + blocks.place[hits[k]];
            const V u = blob.lane_u + blocks.u[hits[k]], dy = blob.lane_y + blocks.dy[hits[k]];
            const V g = load<V>(slopes[k]), weight = load<V>(weights[k]);
            const V gu = g * u, gy = g * dy;
            sums[G] += g;
            sums[G_Y] += gy;
            sums[G_YY] += gy * dy;
            sums[G_U] += gu;
            sums[G_UU] += gu * u;
            sums[G_UY] += gu * dy;
            sums[GRAD_RED] += weight * load<V>(plane + D_RED * N);
            sums[GRAD_GREEN] += weight * load<V>(plane + D_GREEN * N);
            sums[GRAD_BLUE] += weight * load<V>(plane + D_BLUE * N);
            sums[GRAD_DEPTH] += weight * load<V>(plane + D_DEPTH * N);
        }
        lane_sums<MOMENT_FIELDS, V>(sums, out);
    }

    I3D_INLINE int step(R i, const R* s, const Touched& blocks, R log_alpha_min) {
        const BlobLanes<R> blob(s);
        const V red = splat<V>(s[RED]), green = splat<V>(s[GREEN]), blue = splat<V>(s[BLUE]), depth = splat<V>(s[DEPTH]);
        int touched = 0;
        for (int k = 0; k < blocks.count; ++k) {
            R* plane = &pixels[0][0][0] + blocks.place[k];
            const V log_alpha = blob.log_alpha(blob.lane_u + blocks.u[k], blob.lane_y + blocks.dy[k]);
            const Mask<V> hit = (log_alpha >= log_alpha_min) & (load<V>(plane + LAST * N) > i);
            if (!any(hit)) continue;
            const V value = load<V>(plane + D_RED * N) * red + load<V>(plane + D_GREEN * N) * green +
                            load<V>(plane + D_BLUE * N) * blue + load<V>(plane + D_DEPTH * N) * depth;
            PixelState<V> pixel{load<V>(plane + T * N), load<V>(plane + BEHIND * N)};
            V weight;
            const V g = blend_backward<V>(log_alpha, hit, value, pixel, weight);
            store<V>(plane + T * N, pixel.transmittance);
            store<V>(plane + BEHIND * N, pixel.behind);
            store<V>(slopes[touched], g);
            store<V>(weights[touched], weight);
            hits[touched++] = k;
        }
        return touched;
    }
};

}  // namespace i3d
