// What the launchers of the splat rasterizer offer: plain pointers and numbers, no torch.
#pragma once

#include <cstdint>

#include "parallel.h"

namespace i3d {

template <class R>
struct SplatInputs {
    int64_t blobs, cameras;
    const R *means, *scales, *rotations, *colors, *opacities;  // (n, 3), (n, 3), (n, 4), (n, 3), (n)
    const R *viewmats, *intrinsics;                            // (c, 4, 4), (c, 4)
    const R* background;                                       // (c, 3), or (c, h, w, 3), or null
    bool background_is_picture;
    const R* screen_probe;  // (c, n, 2) or null
    int64_t width, height;
    double near, far, blur, alpha_min, transmittance_min;
};

// What the forward pass leaves for the backward pass.
template <class R>
struct SplatSaved {
    R* transmittance;  // (c, h, w)
    int32_t* last;     // (c, h, w): how many of the tile's blobs, nearest first, this pixel saw
    R* splats;         // (c, n, SPLAT_FIELDS)
    int32_t* order;    // (c, n): blobs that are drawn, nearest first, then -1; on CUDA see splat_raster_cuda.h
};

template <class R>
struct SplatPictures {
    R *color, *alpha, *depth;  // (c, h, w, 3), (c, h, w), (c, h, w)
};

template <class R>
struct SplatPictureGrads {
    const R *color, *alpha, *depth;  // as SplatPictures; null stands for zeros
};

template <class R>
struct SplatGrads {
    R *means, *scales, *rotations, *colors, *opacities;
    R* background;    // null when not wanted
    R* screen_probe;  // null when not wanted
};

template <class R>
void splat_forward_cpu(const SplatInputs<R>&, const SplatPictures<R>&, const SplatSaved<R>&, const Parallel&);
template <class R>
void splat_backward_cpu(const SplatInputs<R>&, const SplatPictureGrads<R>&, const SplatSaved<R>&, const SplatGrads<R>&,
                        const Parallel&);

}  // namespace i3d
