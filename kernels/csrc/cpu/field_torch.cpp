// Binding of stage II's CPU kernels to torch: unpacks tensors and layouts, allocates results, fills the dispatch key.
#include <algorithm>

#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include "torch_cpu.h"

#include "volume_render.h"

namespace {

using torch_cpu::parallel;
using torch_cpu::pointer;
using Tensor = at::Tensor;
using Maybe = std::optional<Tensor>;

constexpr int HEAD = 4;  // features, hidden, extra, levels; then resolution and entries of each level

// Grids from their flat parameters and layouts (kernels/hash_grid.py: GridLayout.numbers).
template <class R>
std::vector<i3d::Grid<R>> grids(const Tensor& params, const Maybe& masks, const Maybe& boxes, at::IntArrayRef layout) {
    std::vector<i3d::Grid<R>> out;
    const R* next = params.data_ptr<R>();
    for (size_t at = 0; at < layout.size(); at += HEAD + 2 * size_t(layout[at + 3])) {
        i3d::Grid<R> grid{};
        grid.features = int(layout[at]), grid.hidden = int(layout[at + 1]), grid.extra = int(layout[at + 2]);
        int64_t offset = 0;
        for (int64_t l = 0; l < layout[at + 3]; ++l) {
            const int64_t resolution = layout[at + HEAD + 2 * l], entries = layout[at + HEAD + 2 * l + 1];
            const int64_t corners = (resolution + 1) * (resolution + 1) * (resolution + 1);
            grid.levels.push_back({int32_t(resolution), corners <= entries, uint32_t(entries), offset});
            offset += entries;
        }
        grid.params = next;
        next += grid.size();
        const size_t index = out.size();
        if (masks.has_value()) {
            grid.mask_side = int(masks->size(-1));
            grid.mask = masks->data_ptr<uint8_t>() + int64_t(index) * grid.mask_side * grid.mask_side * grid.mask_side;
        }
        if (boxes.has_value())
            std::copy_n(boxes->data_ptr<R>() + index * i3d::BOX_NUMBERS, i3d::BOX_NUMBERS, grid.box);
        out.push_back(grid);
    }
    return out;
}

int64_t encoded(at::IntArrayRef layout) { return layout[0] * layout[3]; }

Tensor encode(const Tensor& units, const Tensor& table, at::IntArrayRef layout) {
    const Tensor u = units.contiguous(), t = table.contiguous();
    Tensor out = at::empty({u.size(0), encoded(layout)}, u.options());
    torch_cpu::for_type(u, [&](auto zero) {
        using R = decltype(zero);
        i3d::encode_forward<R>(grids<R>(t, {}, {}, layout)[0], pointer<R>(u), u.size(0), pointer<R>(out), parallel());
    });
    return out;
}

std::tuple<Tensor, Tensor> encode_backward(const Tensor& grad, const Tensor& units, const Tensor& table,
                                           at::IntArrayRef layout, bool want_units, bool want_table) {
    const Tensor g = grad.contiguous(), u = units.contiguous(), t = table.contiguous();
    Tensor grad_units = at::zeros({want_units ? u.size(0) : 0, 3}, u.options());
    Tensor grad_table = want_table ? at::zeros(t.sizes(), t.options()) : at::zeros({0, 0}, t.options());
    torch_cpu::for_type(u, [&](auto zero) {
        using R = decltype(zero);
        i3d::encode_backward<R>(grids<R>(t, {}, {}, layout)[0], pointer<R>(u), pointer<R>(g), u.size(0),
                                want_table ? pointer<R>(grad_table) : nullptr,
                                want_units ? pointer<R>(grad_units) : nullptr, parallel());
    });
    return {grad_units, grad_table};
}

std::tuple<Tensor, Tensor, Tensor> network(const Tensor& positions, const Tensor& params, const Tensor& mask,
                                           const Tensor& box, at::IntArrayRef layout, double empty) {
    const Tensor p = positions.contiguous(), q = params.contiguous(), m = mask.contiguous(), b = box.contiguous();
    const int64_t n = p.size(0);
    const int64_t width = encoded(layout);
    Tensor raw = at::empty({n, i3d::OUTPUTS}, p.options()), encoding = at::empty({n, width}, p.options());
    Tensor speaks = at::zeros({n}, m.options());
    torch_cpu::for_type(p, [&](auto zero) {
        using R = decltype(zero);
        const auto grid = grids<R>(q, m, b, layout)[0];
        const auto rows = i3d::members(grid, pointer<R>(p), n, parallel());
        R* values = pointer<R>(raw);
        uint8_t* flags = speaks.data_ptr<uint8_t>();
        for (int32_t row : rows) flags[row] = 1;
        R* features = pointer<R>(encoding);
        for (int64_t row = 0; row < n; ++row) {
            std::fill_n(values + row * i3d::OUTPUTS, i3d::OUTPUTS, R(0));
            if (flags[row]) continue;
            values[row * i3d::OUTPUTS] = R(empty);
            std::fill_n(features + row * width, width, R(0));
        }
        i3d::network_forward(grid, pointer<R>(p), i3d::BaseRows<R>{}, rows.data(), int64_t(rows.size()), values,
                             pointer<R>(encoding), parallel());
    });
    return {raw, encoding, speaks};
}

std::tuple<Tensor, Tensor> network_backward(const Maybe& grad_raw, const Maybe& grad_encoding, const Tensor& positions,
                                            const Tensor& params, const Tensor& mask, const Tensor& box,
                                            const Tensor& encoding, at::IntArrayRef layout, bool want_positions,
                                            bool want_params) {
    const Tensor p = positions.contiguous(), q = params.contiguous(), m = mask.contiguous(), b = box.contiguous();
    const Tensor e = encoding.contiguous();
    const Maybe gr = torch_cpu::contiguous(grad_raw), ge = torch_cpu::contiguous(grad_encoding);
    Tensor grad_positions = at::zeros({want_positions ? p.size(0) : 0, 3}, p.options());
    Tensor grad_params = at::zeros({want_params ? q.size(0) : 0}, q.options());
    torch_cpu::for_type(p, [&](auto zero) {
        using R = decltype(zero);
        const auto grid = grids<R>(q, m, b, layout)[0];
        const auto rows = i3d::members(grid, pointer<R>(p), p.size(0), parallel());
        i3d::Gradients<R> out;
        if (want_positions) out.positions = pointer<R>(grad_positions);
        if (want_params) out.params = pointer<R>(grad_params);
        i3d::network_backward(grid, pointer<R>(p), i3d::BaseRows<R>{}, rows.data(), int64_t(rows.size()), pointer<R>(e),
                              pointer<R>(gr), pointer<R>(ge), out, parallel());
    });
    return {grad_positions, grad_params};
}

std::tuple<Tensor, Tensor> refine(const Tensor& positions, const Tensor& base_encoding, const Tensor& base_raw,
                                  const Tensor& params, const Tensor& masks, const Tensor& boxes,
                                  at::IntArrayRef layouts) {
    const Tensor p = positions.contiguous(), be = base_encoding.contiguous(), br = base_raw.contiguous();
    const Tensor q = params.contiguous(), m = masks.contiguous(), b = boxes.contiguous();
    Tensor residual = at::zeros({p.size(0), i3d::OUTPUTS}, p.options()), speaks = at::zeros({p.size(0)}, m.options());
    torch_cpu::for_type(p, [&](auto zero) {
        using R = decltype(zero);
        const i3d::BaseRows<R> base{pointer<R>(be), pointer<R>(br), int(be.size(1))};
        for (const auto& grid : grids<R>(q, m, b, layouts)) {
            const auto rows = i3d::members(grid, pointer<R>(p), p.size(0), parallel());
            for (int32_t row : rows) speaks.data_ptr<uint8_t>()[row] = 1;
            i3d::network_forward(grid, pointer<R>(p), base, rows.data(), int64_t(rows.size()), pointer<R>(residual),
                                 static_cast<R*>(nullptr), parallel());
        }
    });
    return {residual, speaks};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> refine_backward(const Tensor& grad, const Tensor& positions,
                                                           const Tensor& base_encoding, const Tensor& base_raw,
                                                           const Tensor& params, const Tensor& masks,
                                                           const Tensor& boxes, at::IntArrayRef layouts,
                                                           bool want_positions, bool want_base, bool want_params) {
    const Tensor g = grad.contiguous(), p = positions.contiguous(), be = base_encoding.contiguous();
    const Tensor br = base_raw.contiguous(), q = params.contiguous(), m = masks.contiguous(), b = boxes.contiguous();
    const int64_t n = p.size(0), rows_of_base = want_base ? n : 0;
    Tensor grad_positions = at::zeros({want_positions ? n : 0, 3}, p.options());
    Tensor grad_encoding = at::zeros({rows_of_base, be.size(1)}, p.options());
    Tensor grad_raw = at::zeros({rows_of_base, i3d::OUTPUTS}, p.options());
    Tensor grad_params = at::zeros({want_params ? q.size(0) : 0}, q.options());
    torch_cpu::for_type(p, [&](auto zero) {
        using R = decltype(zero);
        const i3d::BaseRows<R> base{pointer<R>(be), pointer<R>(br), int(be.size(1))};
        R* next = want_params ? pointer<R>(grad_params) : nullptr;
        for (const auto& grid : grids<R>(q, m, b, layouts)) {
            const auto rows = i3d::members(grid, pointer<R>(p), n, parallel());
            i3d::Gradients<R> out;
            out.params = next;
            if (want_positions) out.positions = pointer<R>(grad_positions);
            if (want_base) out.base_encoding = pointer<R>(grad_encoding), out.base_raw = pointer<R>(grad_raw);
            i3d::network_backward(grid, pointer<R>(p), base, rows.data(), int64_t(rows.size()),
                                  static_cast<const R*>(nullptr), pointer<R>(g), static_cast<const R*>(nullptr), out,
                                  parallel());
            if (next) next += grid.size();
        }
    });
    return {grad_positions, grad_encoding, grad_raw, grad_params};
}

template <class R>
i3d::Rays<R> rays_view(const Tensor& origins, const Tensor& directions, const Maybe& shifts, double step, double near) {
    return {pointer<R>(origins), pointer<R>(directions), pointer<R>(shifts), origins.size(0), R(step), R(near)};
}

std::tuple<Tensor, Tensor, Tensor> march(const Tensor& origins, const Tensor& directions, const Maybe& shifts,
                                         const Tensor& occupancy, const Maybe& limits, double step, double near) {
    const Tensor o = origins.contiguous(), d = directions.contiguous(), grid = occupancy.contiguous();
    const Maybe s = torch_cpu::contiguous(shifts), most = torch_cpu::contiguous(limits);
    const int64_t n = o.size(0);
    Tensor offsets = at::zeros({n + 1}, o.options().dtype(at::kLong)), times, positions;
    int64_t* begin = offsets.data_ptr<int64_t>();
    torch_cpu::for_type(o, [&](auto zero) {
        using R = decltype(zero);
        const auto rays = rays_view<R>(o, d, s, step, near);
        const uint8_t* cells = grid.data_ptr<uint8_t>();
        const int32_t side = int32_t(grid.size(0));
        i3d::march_count(rays, cells, side, most.has_value() ? most->data_ptr<int32_t>() : nullptr, begin + 1, parallel());
        for (int64_t i = 0; i < n; ++i) begin[i + 1] += begin[i];
        times = at::empty({begin[n]}, o.options());
        positions = at::empty({begin[n], 3}, o.options());
        i3d::march_fill(rays, cells, side, begin, pointer<R>(times), pointer<R>(positions), parallel());
    });
    return {times, positions, offsets};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> composite(const Tensor& raw, const Tensor& times, const Tensor& offsets,
                                                     double step, double stop) {
    const Tensor r = raw.contiguous(), t = times.contiguous(), o = offsets.contiguous();
    const int64_t n = o.size(0) - 1;
    Tensor color = at::empty({n, 3}, r.options()), alpha = at::empty({n}, r.options()), depth = at::empty({n}, r.options());
    Tensor weights = at::empty({r.size(0)}, r.options());
    torch_cpu::for_type(r, [&](auto zero) {
        using R = decltype(zero);
        i3d::composite_forward<R>(pointer<R>(r), pointer<R>(t), o.data_ptr<int64_t>(), n, R(step), R(stop),
                                  pointer<R>(color), pointer<R>(alpha), pointer<R>(depth), pointer<R>(weights), parallel());
    });
    return {color, alpha, depth, weights};
}

Tensor composite_backward(const Maybe& grad_color, const Maybe& grad_alpha, const Maybe& grad_depth, const Tensor& raw,
                          const Tensor& times, const Tensor& offsets, double step, double stop) {
    const Tensor r = raw.contiguous(), t = times.contiguous(), o = offsets.contiguous();
    const Maybe color = torch_cpu::contiguous(grad_color), alpha = torch_cpu::contiguous(grad_alpha),
                depth = torch_cpu::contiguous(grad_depth);
    Tensor out = at::empty({r.size(0), i3d::OUTPUTS}, r.options());
    torch_cpu::for_type(r, [&](auto zero) {
        using R = decltype(zero);
        i3d::composite_backward<R>(pointer<R>(r), pointer<R>(t), o.data_ptr<int64_t>(), o.size(0) - 1, R(step), R(stop),
                                   pointer<R>(color), pointer<R>(alpha), pointer<R>(depth), pointer<R>(out), parallel());
    });
    return out;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> render(const Tensor& origins, const Tensor& directions, const Maybe& shifts,
                                                  const Tensor& occupancy, const Tensor& params, const Tensor& mask,
                                                  const Tensor& box, at::IntArrayRef layout, const Tensor& region_params,
                                                  const Tensor& region_masks, const Tensor& region_boxes,
                                                  at::IntArrayRef region_layouts, double step, double near, double empty,
                                                  double stop) {
    const Tensor o = origins.contiguous(), d = directions.contiguous(), cells = occupancy.contiguous();
    const Tensor q = params.contiguous(), m = mask.contiguous(), b = box.contiguous();
    const Tensor rq = region_params.contiguous(), rm = region_masks.contiguous(), rb = region_boxes.contiguous();
    const Maybe s = torch_cpu::contiguous(shifts);
    const int64_t n = o.size(0);
    Tensor color = at::empty({n, 3}, o.options()), alpha = at::empty({n}, o.options()), depth = at::empty({n}, o.options());
    Tensor used = at::empty({n}, o.options().dtype(at::kInt));
    torch_cpu::for_type(o, [&](auto zero) {
        using R = decltype(zero);
        i3d::render_rays<R>(rays_view<R>(o, d, s, step, near), cells.data_ptr<uint8_t>(), int32_t(cells.size(0)),
                            grids<R>(q, m, b, layout)[0], grids<R>(rq, rm, rb, region_layouts), R(empty), R(stop),
                            pointer<R>(color), pointer<R>(alpha), pointer<R>(depth), used.data_ptr<int32_t>(), parallel());
    });
    return {color, alpha, depth, used};
}

}  // namespace

TORCH_LIBRARY_IMPL(i3d, CPU, m) {
    m.impl("hash_encode", encode);
    m.impl("hash_encode_backward", encode_backward);
    m.impl("field_network", network);
    m.impl("field_network_backward", network_backward);
    m.impl("hash_refine", refine);
    m.impl("hash_refine_backward", refine_backward);
    m.impl("march_rays", march);
    m.impl("composite", composite);
    m.impl("composite_backward", composite_backward);
    m.impl("render_rays", render);
}
