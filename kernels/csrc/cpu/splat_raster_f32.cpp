#include "splat_raster_cpu.h"

template void i3d::splat_forward_cpu<float>(const SplatInputs<float>&, const SplatPictures<float>&,
                                          const SplatSaved<float>&, const Parallel&);
template void i3d::splat_backward_cpu<float>(const SplatInputs<float>&, const SplatPictureGrads<float>&,
                                           const SplatSaved<float>&, const SplatGrads<float>&, const Parallel&);
