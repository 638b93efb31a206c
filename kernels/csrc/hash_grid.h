// Multiresolution hash encoding (Müller et al. 2022): where a point's eight corners lie in a level's table and what they
// weigh. Coarse levels whose corners fit the table are dense; finer ones are hashed without looking after collisions.
#pragma once

#include <cstdint>

#include "simd.h"

namespace i3d {

constexpr uint32_t HASH_Y = 2654435761u, HASH_Z = 805459861u;  // the primes of the paper; x is multiplied by one
constexpr int BOX_NUMBERS = 8;  // of a grid: low corner, side, centre and radius of its sphere (no sphere at radius 0)

struct Level {
    int32_t resolution;  // cells a side; corners a side are one more
    int32_t dense;
    uint32_t entries;  // a power of two where not dense
    int64_t offset;    // of the level's first entry in the table
};

I3D_INLINE uint32_t corner_entry(const Level& level, uint32_t x, uint32_t y, uint32_t z) {
    const uint32_t side = uint32_t(level.resolution) + 1;
    if (level.dense) return x + side * (y + side * z);
    return (x ^ (y * HASH_Y) ^ (z * HASH_Z)) & (level.entries - 1);
}

// The cell of a coordinate in 0 .. 1 and the place within it; the far border belongs to the last cell.
template <class R>
I3D_INLINE int32_t cell_of(R unit, int32_t resolution, R& within) {
    const R scaled = unit * R(resolution);
    int32_t cell = int32_t(scaled);
    cell = cell < resolution ? cell : resolution - 1;
    within = scaled - R(cell);
    return cell;
}

// Whether a grid speaks at a point: in its box, in its sphere where it has one, and where its mask is set.
template <class R>
I3D_INLINE bool inside_grid(const R* box, const uint8_t* mask, int32_t side, R x, R y, R z) {
    const R u = (x - box[0]) / box[3], v = (y - box[1]) / box[3], w = (z - box[2]) / box[3];
    if (!(u >= 0 && u <= 1 && v >= 0 && v <= 1 && w >= 0 && w <= 1)) return false;
    if (box[7] > 0) {
        const R dx = x - box[4], dy = y - box[5], dz = z - box[6];
        if (dx * dx + dy * dy + dz * dz > box[7] * box[7]) return false;
    }
    R within;
    const int64_t i = cell_of(u, side, within), j = cell_of(v, side, within), k = cell_of(w, side, within);
    return mask[(k * side + j) * side + i] != 0;
}

}  // namespace i3d
