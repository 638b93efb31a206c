// Fills the CPU dispatch key of the splat rasterizer's operators.
#include "splat_raster_torch.h"

#include "torch_cpu.h"

namespace {

struct Launch {
    template <class R>
    static void forward(const i3d::SplatInputs<R>& in, const i3d::SplatPictures<R>& out, i3d::SplatSaved<R> saved,
                        at::Tensor& order) {
        order = at::empty({in.cameras, in.blobs}, order.options());
        saved.order = order.data_ptr<int32_t>();
        i3d::splat_forward_cpu<R>(in, out, saved, torch_cpu::parallel());
    }
    template <class R>
    static void backward(const i3d::SplatInputs<R>& in, const i3d::SplatPictureGrads<R>& picture,
                         const i3d::SplatSaved<R>& saved, const i3d::SplatGrads<R>& out, const at::Tensor&) {
        i3d::splat_backward_cpu<R>(in, picture, saved, out, torch_cpu::parallel());
    }
};

}  // namespace

TORCH_LIBRARY_IMPL(i3d, CPU, m) {
    m.impl("splat_raster_forward", splat_raster_torch::forward<Launch>);
    m.impl("splat_raster_backward", splat_raster_torch::backward<Launch>);
}
