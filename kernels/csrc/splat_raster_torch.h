// The splat rasterizer's operators for torch, on any device: unpacks tensors and allocates results. `Launch` is a class
// with static functions forward, which makes the tensor `order` as well, and backward; they take what splat_raster.h names.
#pragma once

#include "splat_raster.h"
#include "torch_glue.h"

namespace splat_raster_torch {

using torch_glue::pointer;
using Tensor = at::Tensor;
using Maybe = std::optional<Tensor>;
using Seven = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

constexpr int64_t SPLAT_FIELDS = 16;

// Contiguous copies of the inputs, kept alive as long as the pointers into them.
struct Inputs {
    Tensor means, scales, rotations, colors, opacities, viewmats, intrinsics;
    Maybe background, probe;
    int64_t width, height;
    double near, far, blur, alpha_min, transmittance_min;

    template <class R>
    i3d::SplatInputs<R> view() const {
        return {means.size(0), viewmats.size(0), pointer<R>(means), pointer<R>(scales), pointer<R>(rotations),
                pointer<R>(colors), pointer<R>(opacities), pointer<R>(viewmats), pointer<R>(intrinsics),
                pointer<R>(background), background.has_value() && background->dim() == 4, pointer<R>(probe), width, height,
                near, far, blur, alpha_min, transmittance_min};
    }
};

inline Inputs inputs(const Tensor& means, const Tensor& scales, const Tensor& rotations, const Tensor& colors,
                     const Tensor& opacities, const Tensor& viewmats, const Tensor& intrinsics, const Maybe& background,
                     const Maybe& probe, int64_t width, int64_t height, double near, double far, double blur,
                     double alpha_min, double transmittance_min) {
    return {means.contiguous(),     scales.contiguous(),   rotations.contiguous(),
            colors.contiguous(),    opacities.contiguous(), viewmats.contiguous(),
            intrinsics.contiguous(), torch_glue::contiguous(background), torch_glue::contiguous(probe),
            width, height, near, far, blur, alpha_min, transmittance_min};
}

template <class R>
i3d::SplatSaved<R> saved_view(const Tensor& transmittance, const Tensor& last, const Tensor& splats, const Tensor& order) {
    return {pointer<R>(transmittance), last.data_ptr<int32_t>(), pointer<R>(splats), order.data_ptr<int32_t>()};
}

template <class Launch>
Seven forward(const Tensor& means, const Tensor& scales, const Tensor& rotations, const Tensor& colors,
              const Tensor& opacities, const Tensor& viewmats, const Tensor& intrinsics, const Maybe& background,
              const Maybe& probe, int64_t width, int64_t height, double near, double far, double blur, double alpha_min,
              double transmittance_min) {
    const Inputs in = inputs(means, scales, rotations, colors, opacities, viewmats, intrinsics, background, probe, width,
                             height, near, far, blur, alpha_min, transmittance_min);
    const int64_t c = viewmats.size(0), n = means.size(0);
    const auto options = means.options().requires_grad(false);
    const auto whole = options.dtype(at::kInt);
    Tensor color = at::empty({c, height, width, 3}, options), alpha = at::empty({c, height, width}, options);
    Tensor depth = at::empty_like(alpha), transmittance = at::empty_like(alpha);
    Tensor last = at::empty({c, height, width}, whole), order = at::empty({0}, whole);
    Tensor splats = at::empty({c, n, SPLAT_FIELDS}, options);
    torch_glue::for_type(means, [&](auto zero) {
        using R = decltype(zero);
        Launch::template forward<R>(in.view<R>(), {pointer<R>(color), pointer<R>(alpha), pointer<R>(depth)},
                                    saved_view<R>(transmittance, last, splats, order), order);
    });
    return {color, alpha, depth, transmittance, last, splats, order};
}

template <class Launch>
Seven backward(const Maybe& grad_color, const Maybe& grad_alpha, const Maybe& grad_depth, const Tensor& means,
               const Tensor& scales, const Tensor& rotations, const Tensor& colors, const Tensor& opacities,
               const Tensor& viewmats, const Tensor& intrinsics, const Maybe& background, const Maybe& probe,
               const Tensor& transmittance, const Tensor& last, const Tensor& splats, const Tensor& order,
               bool background_wanted, int64_t width, int64_t height, double near, double far, double blur,
               double alpha_min, double transmittance_min) {
    const Inputs in = inputs(means, scales, rotations, colors, opacities, viewmats, intrinsics, background, probe, width,
                             height, near, far, blur, alpha_min, transmittance_min);
    const Maybe color = torch_glue::contiguous(grad_color), alpha = torch_glue::contiguous(grad_alpha),
                depth = torch_glue::contiguous(grad_depth);
    Tensor d_means = at::empty_like(in.means), d_scales = at::empty_like(in.scales);
    Tensor d_rotations = at::empty_like(in.rotations), d_colors = at::empty_like(in.colors);
    Tensor d_opacities = at::empty_like(in.opacities);
    const bool wanted = background_wanted && background.has_value();
    Tensor d_background = wanted ? at::empty_like(*in.background) : at::empty({0}, means.options());
    Tensor d_probe = probe.has_value() ? at::empty_like(*in.probe) : at::empty({0}, means.options());
    torch_glue::for_type(means, [&](auto zero) {
        using R = decltype(zero);
        Launch::template backward<R>(
            in.view<R>(), {pointer<R>(color), pointer<R>(alpha), pointer<R>(depth)},
            saved_view<R>(transmittance, last, splats, order),
            {pointer<R>(d_means), pointer<R>(d_scales), pointer<R>(d_rotations), pointer<R>(d_colors), pointer<R>(d_opacities),
             wanted ? pointer<R>(d_background) : nullptr, probe.has_value() ? pointer<R>(d_probe) : nullptr},
            means);
    });
    return {d_means, d_scales, d_rotations, d_colors, d_opacities, d_background, d_probe};
}

}  // namespace splat_raster_torch
