#include "splat_raster_cpu.h"

template void i3d::splat_forward_cpu<double>(const SplatInputs<double>&, const SplatPictures<double>&,
                                          const SplatSaved<double>&, const Parallel&);
template void i3d::splat_backward_cpu<double>(const SplatInputs<double>&, const SplatPictureGrads<double>&,
                                           const SplatSaved<double>&, const SplatGrads<double>&, const Parallel&);
