// Grids of hash tables, each followed by a small network (one hidden layer of rectified units, four outputs), summed over
// the grids that speak at a point: the base field is one grid, a refined region is another (paper section 3.2.2).
#pragma once

#include <vector>

#include "hash_grid.h"
#include "parallel.h"

namespace i3d {

constexpr int OUTPUTS = 4;  // raw density, then raw red, green, blue
constexpr int BLOCK = 32;   // points that are worked on together; a register's lanes divide it

// One grid. `params` is flat: tables (entry by entry), first layer (hidden x inputs), its bias, second layer
// (OUTPUTS x hidden), its bias. Inputs are the encoding, then `extra` further ones: base encoding and base output.
template <class R>
struct Grid {
    int features, hidden, extra, mask_side;
    std::vector<Level> levels;
    const R* params;
    const uint8_t* mask;  // null: everywhere
    R box[BOX_NUMBERS];

    int encoded() const { return int(levels.size()) * features; }
    int inputs() const { return encoded() + extra; }
    int64_t entries() const { return levels.back().offset + levels.back().entries; }
    const R* first() const { return params + entries() * features; }
    const R* first_bias() const { return first() + int64_t(hidden) * inputs(); }
    const R* second() const { return first_bias() + hidden; }
    const R* second_bias() const { return second() + OUTPUTS * hidden; }
    int64_t network_size() const { return int64_t(hidden) * (inputs() + 1 + OUTPUTS) + OUTPUTS; }
    int64_t size() const { return entries() * features + network_size(); }
};

// What the extra inputs of a refining grid are made of, row by row; null for the base grid.
template <class R>
struct BaseRows {
    const R* encoding = nullptr;  // (n, width)
    const R* raw = nullptr;       // (n, OUTPUTS)
    int width = 0;
};

// Encoding alone, of points in unit coordinates: out is (n, levels * features).
template <class R>
void encode_forward(const Grid<R>& grid, const R* units, int64_t n, R* out, const Parallel& parallel);
// Adds to grad_table (flat tables, zeros) and writes grad_units (n, 3); either may be null.
template <class R>
void encode_backward(const Grid<R>& grid, const R* units, const R* grad, int64_t n, R* grad_table, R* grad_units,
                     const Parallel& parallel);

// The rows (in order) at which a grid speaks.
template <class R>
std::vector<int32_t> members(const Grid<R>& grid, const R* positions, int64_t n, const Parallel& parallel);

// Adds the grid's output to raw (n, OUTPUTS) for the listed rows; writes their encoding to `encoding` unless null.
template <class R>
void network_forward(const Grid<R>& grid, const R* positions, BaseRows<R> base, const int32_t* rows, int64_t count,
                     R* raw, R* encoding, const Parallel& parallel);

// Everything that a backward pass may be asked for; null where it is not wanted. All are added to.
template <class R>
struct Gradients {
    R* params = nullptr;         // flat, as Grid::params
    R* positions = nullptr;      // (n, 3), scene units
    R* base_encoding = nullptr;  // (n, width)
    R* base_raw = nullptr;       // (n, OUTPUTS)
};
// grad_raw (n, OUTPUTS) and grad_encoding (n, encoded) may be null. `encoding` is what the forward pass wrote, or null.
template <class R>
void network_backward(const Grid<R>& grid, const R* positions, BaseRows<R> base, const int32_t* rows, int64_t count,
                      const R* encoding, const R* grad_raw, const R* grad_encoding, Gradients<R> out,
                      const Parallel& parallel);

// The same forward pass on the calling thread alone, for callers that have tasks of their own.
template <class R>
void network_forward_range(const Grid<R>& grid, const R* positions, BaseRows<R> base, const int32_t* rows,
                           int64_t begin, int64_t end, R* raw, R* encoding);

}  // namespace i3d
