// Fills the CUDA dispatch key of the splat rasterizer's operators.
#include "splat_raster_torch.h"

#include "splat_raster_cuda.h"
#include "torch_cuda.h"

namespace {

struct Launch {
    template <class R>
    static void forward(const i3d::SplatInputs<R>& in, const i3d::SplatPictures<R>& out, i3d::SplatSaved<R> saved,
                        at::Tensor& order) {
        torch_cuda::Place place(order);
        i3d::splat_forward_cuda<R>(in, out, saved, {torch_cuda::Place::take, &place}, {keep, &order}, place.stream());
    }
    // `order` becomes as large as its lists turn out to be.
    static void* keep(void* owner, size_t bytes) {
        auto& order = *static_cast<at::Tensor*>(owner);
        order = at::empty({int64_t(bytes / sizeof(int32_t))}, order.options());
        return order.data_ptr();
    }
    template <class R>
    static void backward(const i3d::SplatInputs<R>& in, const i3d::SplatPictureGrads<R>& picture,
                         const i3d::SplatSaved<R>& saved, const i3d::SplatGrads<R>& out, const at::Tensor& means) {
        torch_cuda::Place place(means);
        i3d::splat_backward_cuda<R>(in, picture, saved, out, {torch_cuda::Place::take, &place}, place.stream());
    }
};

}  // namespace

TORCH_LIBRARY_IMPL(i3d, CUDA, m) {
    m.impl("splat_raster_forward", splat_raster_torch::forward<Launch>);
    m.impl("splat_raster_backward", splat_raster_torch::backward<Launch>);
}
