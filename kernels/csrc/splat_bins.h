// CPU: which blobs touch which tile, nearest first. The lists depend on nothing but the blobs: neither on the number of
// threads nor on the memory limit, which only decides how many tiles are listed at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <vector>

#include "parallel.h"
#include "splat_cover.h"

namespace i3d {

constexpr int TILE_W = 64, TILE_H = 32;      // pixels; a tile's working set fits the first-level cache
constexpr int64_t MAX_ENTRIES = 8 << 20;     // (blob, tile) pairs held at once: some 450 MB in the backward pass
constexpr int64_t BLOBS_PER_CHUNK = 2048;    // blobs that one task bins
constexpr int64_t MAX_CHUNKS = 16;

template <class R>
using TileCover = Cover<R, TILE_W, TILE_H>;

struct Grid {
    int64_t width, height, columns, rows;
    Grid(int64_t w, int64_t h) : width(w), height(h), columns((w + TILE_W - 1) / TILE_W), rows((h + TILE_H - 1) / TILE_H) {}
};

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
            int64_t pairs = 0;
        };
        std::vector<Chunk> chunks;
        first_slot.resize(bands.size());
        for (size_t b = 0; b < bands.size(); ++b) {
            bands[b].first_tile = tiles;
            tiles += (bands[b].row1 - bands[b].row0) * grid.columns;
            const int64_t total = drawn[bands[b].camera];
            const int64_t parts = std::clamp<int64_t>(total / BLOBS_PER_CHUNK, 1, MAX_CHUNKS);
            for (int64_t k = 0; k < parts; ++k)
                chunks.push_back({int64_t(b), total * k / parts, total * (k + 1) / parts, {}, {}, 0});
            first_slot[b].resize(total + 1);
        }
        parallel(int64_t(chunks.size()), [&](int64_t task) {
            Chunk& chunk = chunks[task];
            const Band& band = bands[chunk.band];
            chunk.count.assign((band.row1 - band.row0) * grid.columns, 0);
            chunk.tile.resize((chunk.end - chunk.begin) * 4);
            const int32_t* ranks = order + band.camera * blobs;
            const auto splat_of = [&](int64_t rank) {
                return splats + (band.camera * blobs + ranks[std::min(rank, chunk.end - 1)]) * SPLAT_FIELDS;
            };
            int64_t pairs = 0;
            for (int64_t rank = chunk.begin; rank < chunk.end; ++rank) {
                first_slot[chunk.band][rank] = pairs;
                __builtin_prefetch(splat_of(rank + 12));
                const TileCover<R> cover(splat_of(rank), int(grid.width), int(grid.height), log_alpha_min);
                const int first_row = std::max(cover.first_row, int(band.row0)), end_row = std::min(cover.end_row, int(band.row1));
                const int64_t most = pairs + int64_t(std::max(end_row - first_row, 0)) * (cover.last - cover.first + 1);
                if (most > int64_t(chunk.tile.size())) chunk.tile.resize(2 * most);
                for (int row = first_row; row < end_row; ++row) {
                    int begin, end;
                    cover.columns(row, begin, end);
                    const int32_t base = int32_t((row - band.row0) * grid.columns);
                    for (int column = begin; column <= end; ++column) {
                        chunk.tile[pairs++] = base + column;
                        ++chunk.count[base + column];
                    }
                }
            }
            chunk.pairs = pairs;
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
                slots += chunks[c].pairs;
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
                const int64_t end = rank + 1 < chunk.end ? first[rank + 1] : first[chunk.begin] + chunk.pairs;
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
            const TileCover<R> cover(s, int(grid.width), int(grid.height), log_alpha_min);
            for (int row = cover.first_row; row < cover.end_row; ++row) {
                int begin, end;
                cover.columns(row, begin, end);
                count[camera * grid.rows + row] += std::max(end - begin + 1, 0);
            }
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
