// Which tiles a blob covers: those that the ellipse reaches on which its alpha falls to alpha_min, not those of the
// ellipse's box.
#pragma once

#include "splat_project.h"

namespace i3d {

template <class R, int TILE_WIDTH, int TILE_HEIGHT>
struct Cover {
    // Pixels; covers rounding.
    static constexpr R MARGIN = R(0.01);

    const R* s;
    int first_row, end_row;  // rows of tiles that the ellipse's box reaches
    int first, last;         // columns, the last included
    R room;

    I3D_INLINE Cover(const R* splat, int width, int height, R log_alpha_min)
        : s(splat), room(splat[HEIGHT] - log_alpha_min) {
        first_row = tile_of<TILE_HEIGHT>(s[MEAN_Y] - s[RADIUS_Y], height);
        end_row = tile_of<TILE_HEIGHT>(s[MEAN_Y] + s[RADIUS_Y], height) + 1;
        first = tile_of<TILE_WIDTH>(s[MEAN_X] - s[RADIUS_X], width);
        last = tile_of<TILE_WIDTH>(s[MEAN_X] + s[RADIUS_X], width);
    }

    template <int SIZE>
    static I3D_INLINE int tile_of(R pixel, int size) {
        return int(smaller<R>(larger<R>(pixel, R(0)), R(size - 1))) / SIZE;
    }

    // The columns from `begin` to `end` (included) of a row of tiles; empty when begin > end.
    I3D_INLINE void columns(int row, int& begin, int& end) const {
        begin = first;
        end = last;
        if (first == last || end_row - first_row == 1) return;
        const R high = larger<R>(R(row * TILE_HEIGHT) + R(0.5) - s[MEAN_Y], -s[RADIUS_Y]);
        const R low = smaller<R>(R((row + 1) * TILE_HEIGHT) - R(0.5) - s[MEAN_Y], s[RADIUS_Y]);
        if (high > low + MARGIN) {
            end = begin - 1;
            return;
        }
        // The ellipse's rightmost point lies at dy = peak, its leftmost at -peak; nearer to the row, if not in it.
        const R peak = s[RIDGE] * s[RADIUS_X];
        const R right_y = smaller<R>(larger<R>(peak, high), low), left_y = smaller<R>(larger<R>(-peak, high), low);
        const R right = s[SLOPE] * right_y + root(larger<R>((room + s[Q] * right_y * right_y) * s[INVERSE_K], R(0)));
        const R left = s[SLOPE] * left_y - root(larger<R>((room + s[Q] * left_y * left_y) * s[INVERSE_K], R(0)));
        const int from = int(larger<R>(s[MEAN_X] + left - MARGIN, R(0))) / TILE_WIDTH;
        const int to = int(larger<R>(smaller<R>(s[MEAN_X] + right + MARGIN, R(1 << 24)), R(-1))) / TILE_WIDTH;
        if (s[MEAN_X] + right + MARGIN < R(0)) {
            end = begin - 1;
            return;
        }
        begin = from > begin ? from : begin;
        end = to < end ? to : end;
    }
};

}  // namespace i3d
