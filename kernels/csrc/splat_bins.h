// CPU: which blobs touch which tile, nearest first. The lists depend on nothing but the blobs: neither on the number of
// threads nor on the memory limit, which only decides how many tiles are listed at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <vector>

#include "parallel.h"
#include "splat_project.h"

namespace i3d {

constexpr int TILE_W = 32, TILE_H = 16;      // pixels; a tile's working set fits the first-level cache
constexpr int64_t MAX_ENTRIES = 8 << 20;     // (blob, tile) pairs held at once: some 450 MB in the backward pass
constexpr int64_t BLOBS_PER_CHUNK = 2048;    // blobs that one task bins
constexpr int64_t MAX_CHUNKS = 16;

struct Grid {
    int64_t width, height, columns, rows;
    Grid(int64_t w, int64_t h) : width(w), height(h), columns((w + TILE_W - 1) / TILE_W), rows((h + TILE_H - 1) / TILE_H) {}
};

// Calls f(row, first column, last column) for every tile row from row0 to row1 - 1 that a drawn blob reaches. The columns
// are those of the ellipse where alpha reaches alpha_min, not of its box.
template <class R, class F>
inline void tile_rows_of(const R* s, const Grid& grid, R log_alpha_min, int64_t row0, int64_t row1, const F& f) {
    constexpr R MARGIN = R(0.01);  // pixels; covers rounding
    const R top = s[MEAN_Y] - s[RADIUS_Y], bottom = s[MEAN_Y] + s[RADIUS_Y];
    const R left = s[MEAN_X] - s[RADIUS_X], right = s[MEAN_X] + s[RADIUS_X];
    const int64_t first_row = std::max<int64_t>(row0, int64_t(std::max(top, R(0))) / TILE_H);
    const int64_t last_row = std::min<int64_t>(row1 - 1, int64_t(std::min(std::max(bottom, R(0)), R(grid.height))) / TILE_H);
    const int64_t first = int64_t(std::max(left, R(0))) / TILE_W;
    const int64_t last = std::min<int64_t>(grid.columns - 1, int64_t(std::min(std::max(right, R(0)), R(grid.width))) / TILE_W);
    const bool small = first == last || first_row == last_row;
    const R room = s[HEIGHT] - log_alpha_min, peak = s[RIDGE] * s[RADIUS_X];
    for (int64_t row = first_row; row <= last_row; ++row) {
        if (small) {
            f(row, first, last);
            continue;
        }
        const R high = std::max(R(row * TILE_H) + R(0.5) - s[MEAN_Y], -s[RADIUS_Y]);
        const R low = std::min(R(row * TILE_H + TILE_H) - R(0.5) - s[MEAN_Y], s[RADIUS_Y]);
        if (high > low + MARGIN) continue;
        const R y_right = std::min(std::max(peak, high), low), y_left = std::min(std::max(-peak, high), low);
        const R half_right = std::sqrt(std::max((room + s[Q] * y_right * y_right) * s[INVERSE_K], R(0)));
        const R half_left = std::sqrt(std::max((room + s[Q] * y_left * y_left) * s[INVERSE_K], R(0)));
        const R from = s[MEAN_X] + s[SLOPE] * y_left - half_left - MARGIN;
        const R to = s[MEAN_X] + s[SLOPE] * y_right + half_right + MARGIN;
        if (to < R(0)) continue;
        const int64_t begin = std::max(first, int64_t(std::max(from, R(0))) / TILE_W);
        const int64_t end = std::min(last, int64_t(std::min(to, R(grid.width))) / TILE_W);
        if (begin <= end) f(row, begin, end);
    }
}

struct Entry {
    int32_t blob;
    int32_t slot;  // where the backward pass leaves this pair's sums; a blob's slots lie side by side
};

// A band of one camera's tile rows.
struct Band {
    int64_t camera, row0, row1;
    int64_t first_tile;  // of the unit's tiles
};

// The lists of a set of bands that are worked on together.
class Bins {
  public:
    std::vector<Band> bands;
    std::vector<int64_t> start;         // (tiles + 1): where each tile's entries begin
    std::unique_ptr<Entry[]> entries;   // by tile, then nearest first
    std::vector<std::vector<int64_t>> first_slot;  // per band: (drawn + 1) by rank
    int64_t tiles = 0, slots = 0;

    template <class R>
    Bins(std::vector<Band> bands_, const Grid& grid, R log_alpha_min, const R* splats, const int32_t* order, int64_t blobs,
         const std::vector<int64_t>& drawn, const Parallel& parallel)
        : bands(std::move(bands_)) {
        struct Chunk {
            int64_t band, begin, end;
            std::vector<int32_t> tile;   // of every pair, in order
            std::vector<int32_t> count;  // per tile of the band; then where the next entry goes
        };
        std::vector<Chunk> chunks;
        first_slot.resize(bands.size());
        for (size_t b = 0; b < bands.size(); ++b) {
            bands[b].first_tile = tiles;
            tiles += (bands[b].row1 - bands[b].row0) * grid.columns;
            const int64_t total = drawn[bands[b].camera];
            const int64_t parts = std::clamp<int64_t>(total / BLOBS_PER_CHUNK, 1, MAX_CHUNKS);
            for (int64_t k = 0; k < parts; ++k)
                chunks.push_back({int64_t(b), total * k / parts, total * (k + 1) / parts, {}, {}});
            first_slot[b].resize(total + 1);
        }
        parallel(int64_t(chunks.size()), [&](int64_t task) {
            Chunk& chunk = chunks[task];
            const Band& band = bands[chunk.band];
            chunk.count.assign((band.row1 - band.row0) * grid.columns, 0);
            chunk.tile.reserve((chunk.end - chunk.begin) * 4);
            const int32_t* ranks = order + band.camera * blobs;
            for (int64_t rank = chunk.begin; rank < chunk.end; ++rank) {
                first_slot[chunk.band][rank] = int64_t(chunk.tile.size());
                const R* s = splats + (band.camera * blobs + ranks[rank]) * SPLAT_FIELDS;
                tile_rows_of(s, grid, log_alpha_min, band.row0, band.row1, [&](int64_t row, int64_t begin, int64_t end) {
                    for (int64_t column = begin; column <= end; ++column) {
                        const int32_t tile = int32_t((row - band.row0) * grid.columns + column);
                        chunk.tile.push_back(tile);
                        ++chunk.count[tile];
                    }
                });
            }
        });
        start.resize(tiles + 1);
        for (size_t c = 0; c < chunks.size();) {
            size_t end = c;
            while (end < chunks.size() && chunks[end].band == chunks[c].band) ++end;
            const Band& band = bands[chunks[c].band];
            int64_t offset = slots;
            for (int64_t tile = 0; tile < (band.row1 - band.row0) * grid.columns; ++tile) {
                start[band.first_tile + tile] = offset;
                for (size_t k = c; k < end; ++k) {
                    const int32_t count = chunks[k].count[tile];
                    chunks[k].count[tile] = int32_t(offset);
                    offset += count;
                }
            }
            for (; c < end; ++c) {
                auto& first = first_slot[chunks[c].band];
                for (int64_t rank = chunks[c].begin; rank < chunks[c].end; ++rank) first[rank] += slots;
                slots += int64_t(chunks[c].tile.size());
            }
            first_slot[chunks[c - 1].band].back() = slots;
        }
        start[tiles] = slots;
        entries.reset(new Entry[slots]);
        parallel(int64_t(chunks.size()), [&](int64_t task) {
            Chunk& chunk = chunks[task];
            const int32_t* ranks = order + bands[chunk.band].camera * blobs;
            const auto& first = first_slot[chunk.band];
            if (chunk.begin == chunk.end) return;
            const int32_t* tile = chunk.tile.data();
            for (int64_t rank = chunk.begin; rank < chunk.end; ++rank) {
                const int64_t end = rank + 1 < chunk.end ? first[rank + 1] : first[chunk.begin] + int64_t(chunk.tile.size());
                for (int64_t slot = first[rank]; slot < end; ++slot)
                    entries[chunk.count[*tile++]++] = {ranks[rank], int32_t(slot)};
            }
        });
    }

    // The tiles, those with most entries first: what is long should not start last.
    std::vector<int32_t> by_length() const {
        std::vector<int32_t> tile(tiles);
        std::iota(tile.begin(), tile.end(), 0);
        std::stable_sort(tile.begin(), tile.end(),
                         [&](int32_t a, int32_t b) { return start[a + 1] - start[a] > start[b + 1] - start[b]; });
        return tile;
    }
};

// Splits the pictures into sets of bands with at most MAX_ENTRIES pairs each, or one row of tiles where that has more.
// `bound` is an upper bound of all pairs; only when it is too much are the pairs of each tile row counted.
template <class R>
std::vector<std::vector<Band>> plan_bands(double bound, const Grid& grid, R log_alpha_min, const R* splats,
                                          const int32_t* order, int64_t blobs, int64_t cameras,
                                          const std::vector<int64_t>& drawn, const Parallel& parallel) {
    std::vector<std::vector<Band>> units(1);
    if (bound <= double(MAX_ENTRIES)) {
        for (int64_t camera = 0; camera < cameras; ++camera) units[0].push_back({camera, 0, grid.rows, 0});
        return units;
    }
    std::vector<int64_t> count(cameras * grid.rows, 0);
    parallel(cameras, [&](int64_t camera) {
        for (int64_t rank = 0; rank < drawn[camera]; ++rank) {
            const R* s = splats + (camera * blobs + order[camera * blobs + rank]) * SPLAT_FIELDS;
            tile_rows_of(s, grid, log_alpha_min, 0, grid.rows, [&](int64_t row, int64_t begin, int64_t end) {
                count[camera * grid.rows + row] += end - begin + 1;
            });
        }
    });
    int64_t held = 0;
    for (int64_t camera = 0; camera < cameras; ++camera)
        for (int64_t row = 0; row < grid.rows; ++row) {
            const int64_t more = count[camera * grid.rows + row];
            if (held > 0 && held + more > MAX_ENTRIES) {
                units.emplace_back();
                held = 0;
            }
            held += more;
            auto& bands = units.back();
            if (!bands.empty() && bands.back().camera == camera)
                bands.back().row1 = row + 1;
            else
                bands.push_back({camera, row, row + 1, 0});
        }
    return units;
}

}  // namespace i3d
