// Binding of stage II's CUDA kernels to torch: unpacks tensors and layouts, allocates results, fills the dispatch key.
#include <ATen/ops/cumsum.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/cuda/CUDAException.h>

#include <algorithm>
#include <type_traits>
#include <vector>

#include "cuda/field_cuda.h"
#include "torch_cuda.h"

namespace {

using torch_cuda::Place;
using torch_glue::contiguous;
using torch_glue::for_type;
using torch_glue::pointer;
using Tensor = at::Tensor;
using Maybe = std::optional<Tensor>;

constexpr int HEAD = 4;  // features, hidden, extra, levels; then resolution and entries of each level

int64_t encoded(at::IntArrayRef layout) { return layout[0] * layout[3]; }

// Grids from their flat parameters and layouts (kernels/hash_grid.py: GridLayout.numbers), and where each one's begin.
// The tensors are kept as long as the pointers into them.
template <class R>
struct Grids {
    std::vector<i3d::CudaGrid<R>> host;
    std::vector<int64_t> offsets;
    std::vector<Tensor> kept;

    void add(const Tensor& given_params, const Maybe& given_masks, const Maybe& given_boxes, at::IntArrayRef layout) {
        const Tensor params = given_params.contiguous().flatten();
        const Maybe masks = contiguous(given_masks), boxes = contiguous(given_boxes);
        kept.insert(kept.end(), {params, masks.value_or(Tensor()), boxes.value_or(Tensor())});
        const R* next = params.data_ptr<R>();
        int64_t index = 0, begin = 0;
        for (size_t at = 0; at < layout.size(); at += HEAD + 2 * size_t(layout[at + 3]), ++index) {
            i3d::CudaGrid<R> grid{};
            grid.features = int(layout[at]), grid.hidden = int(layout[at + 1]), grid.extra = int(layout[at + 2]);
            grid.levels = int(layout[at + 3]);
            const int64_t inputs = grid.levels * grid.features + grid.extra;
            TORCH_CHECK(grid.levels <= i3d::MAX_LEVELS && inputs <= i3d::MAX_INPUTS, "field: the CUDA kernels take up to ",
                        i3d::MAX_LEVELS, " levels and ", i3d::MAX_INPUTS, " network inputs, got ", grid.levels, " and ", inputs,
                        "; use fewer levels or features, or INTERACTIVE3D_KERNELS=reference");
            int64_t offset = 0;
            for (int64_t l = 0; l < grid.levels; ++l) {
                const int64_t resolution = layout[at + HEAD + 2 * l], entries = layout[at + HEAD + 2 * l + 1];
                const int64_t corners = (resolution + 1) * (resolution + 1) * (resolution + 1);
                grid.level[l] = {int32_t(resolution), corners <= entries, uint32_t(entries), offset};
                offset += entries;
            }
            const int64_t size = offset * grid.features + grid.hidden * (inputs + 1 + i3d::CUDA_OUTPUTS) + i3d::CUDA_OUTPUTS;
            grid.params = next;
            if (reinterpret_cast<uintptr_t>(next) % i3d::PARAMS_ALIGNMENT) {  // a slice, or behind a grid with other features
                kept.push_back(params.narrow(0, begin, std::min(size, params.size(0) - begin)).clone());
                grid.params = kept.back().template data_ptr<R>();
            }
            offsets.push_back(begin);
            next += size, begin += size;
            if (masks.has_value()) {
                grid.mask_side = int(masks->size(-1));
                const int64_t cells = int64_t(grid.mask_side) * grid.mask_side * grid.mask_side;
                grid.mask = masks->data_ptr<uint8_t>() + index * cells;
            }
            if (boxes.has_value()) grid.box = boxes->data_ptr<R>() + index * i3d::BOX_NUMBERS;
            host.push_back(grid);
        }
    }

    template <class T>
    static T* copied(const std::vector<T>& from, Place& place) {
        T* to = static_cast<T*>(Place::take(&place, (from.empty() ? 1 : from.size()) * sizeof(T)));
        // Memory that is not pinned: the call returns when it has been read.
        C10_CUDA_CHECK(cudaMemcpyAsync(to, from.data(), from.size() * sizeof(T), cudaMemcpyHostToDevice, place.stream()));
        return to;
    }
    const i3d::CudaGrid<R>* on_device(Place& place) const { return copied(host, place); }
    int count() const { return int(host.size()); }
};

// (width, n), as the kernels have columns; a transposed view of such is taken as it is.
Tensor columns(const Tensor& rows) { return rows.t().contiguous(); }
template <class T>
i3d::Columns<T> columns_of(const Tensor& columns) {
    return {columns.data_ptr<std::remove_const_t<T>>(), 1, columns.size(1)};
}
Tensor members_of(const Tensor& positions) { return at::empty({positions.size(0)}, positions.options().dtype(at::kByte)); }

Tensor encode(const Tensor& units, const Tensor& table, at::IntArrayRef layout) {
    Place place(units);
    const Tensor u = units.contiguous();
    Tensor out = at::empty({u.size(0), encoded(layout)}, u.options());
    for_type(u, [&](auto zero) {
        using R = decltype(zero);
        Grids<R> grids;
        grids.add(table, {}, {}, layout);
        i3d::encode_forward_cuda<R>(grids.host[0], pointer<R>(u), nullptr, u.size(0), {pointer<R>(out), out.size(1), 1},
                                    place.stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return out;
}

std::tuple<Tensor, Tensor> encode_backward(const Tensor& grad, const Tensor& units, const Tensor& table,
                                           at::IntArrayRef layout, bool want_units, bool want_table) {
    Place place(units);
    const Tensor g = grad.contiguous(), u = units.contiguous();
    Tensor grad_units = at::zeros({want_units ? u.size(0) : 0, 3}, u.options());
    Tensor grad_table = want_table ? at::zeros(table.sizes(), table.options()) : at::zeros({0, table.size(1)}, table.options());
    for_type(u, [&](auto zero) {
        using R = decltype(zero);
        Grids<R> grids;
        grids.add(table, {}, {}, layout);
        i3d::encode_backward_cuda<R>(grids.host[0], pointer<R>(u), nullptr, u.size(0), {pointer<R>(g), g.size(1), 1},
                                     want_table ? pointer<R>(grad_table) : nullptr,
                                     want_units ? pointer<R>(grad_units) : nullptr, place.stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return {grad_units, grad_table};
}

std::tuple<Tensor, Tensor, Tensor> network(const Tensor& positions, const Tensor& params, const Tensor& mask,
                                           const Tensor& box, at::IntArrayRef layout, double empty) {
    Place place(positions);
    const Tensor p = positions.contiguous();
    const int64_t n = p.size(0);
    Tensor raw = at::zeros({n, i3d::CUDA_OUTPUTS}, p.options()), own = at::empty({encoded(layout), n}, p.options());
    Tensor speaks = members_of(p);
    for_type(p, [&](auto zero) {
        using R = decltype(zero);
        Grids<R> grids;
        grids.add(params, mask.unsqueeze(0), box.unsqueeze(0), layout);
        const auto& grid = grids.host[0];
        auto* members = speaks.data_ptr<uint8_t>();
        i3d::members_cuda<R>(grid, pointer<R>(p), n, members, nullptr, place.stream());
        i3d::encode_forward_cuda<R>(grid, pointer<R>(p), members, n, columns_of<R>(own), place.stream());
        i3d::network_forward_cuda<R>(grid, {pointer<R>(own), nullptr, nullptr, 0}, members, n, pointer<R>(raw), place.stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    raw.select(1, 0).masked_fill_(speaks.eq(0), empty);
    return {raw, own.t(), speaks};
}

std::tuple<Tensor, Tensor> network_backward(const Maybe& grad_raw, const Maybe& grad_encoding, const Tensor& positions,
                                            const Tensor& params, const Tensor& mask, const Tensor& box,
                                            const Tensor& encoding, at::IntArrayRef layout, bool want_positions,
                                            bool want_params) {
    Place place(positions);
    const Tensor p = positions.contiguous(), own = columns(encoding);
    const int64_t n = p.size(0);
    const Maybe g = contiguous(grad_raw);
    Tensor grad_positions = at::zeros({want_positions ? n : 0, 3}, p.options());
    Tensor grad_params = at::zeros({want_params ? params.size(0) : 0}, params.options());
    Tensor grad_own = g.has_value() ? at::empty_like(own) : at::zeros_like(own), members = members_of(p);
    for_type(p, [&](auto zero) {
        using R = decltype(zero);
        Grids<R> grids;
        grids.add(params, mask.unsqueeze(0), box.unsqueeze(0), layout);
        const auto& grid = grids.host[0];
        const auto* speaks = members.data_ptr<uint8_t>();
        R* of_params = want_params ? pointer<R>(grad_params) : nullptr;
        i3d::members_cuda<R>(grid, pointer<R>(p), n, members.data_ptr<uint8_t>(), nullptr, place.stream());
        if (g.has_value())
            i3d::network_backward_cuda<R>(grid, {pointer<R>(own), nullptr, nullptr, 0}, speaks, n, pointer<R>(g), of_params,
                                          {pointer<R>(grad_own), nullptr, nullptr}, place.stream());
        if (grad_encoding.has_value()) grad_own.add_(grad_encoding->t());
        i3d::encode_backward_cuda<R>(grid, pointer<R>(p), speaks, n, columns_of<const R>(grad_own), of_params,
                                     want_positions ? pointer<R>(grad_positions) : nullptr, place.stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return {grad_positions, grad_params};
}

// The widest encoding of several grids, as room for each one's columns in turn.
template <class R>
Tensor room_for(const Grids<R>& grids, const Tensor& positions) {
    int widest = 0;
    for (const auto& grid : grids.host) widest = std::max(widest, grid.encoded());
    return at::empty({widest, positions.size(0)}, positions.options());
}

std::tuple<Tensor, Tensor> refine(const Tensor& positions, const Tensor& base_encoding, const Tensor& base_raw,
                                  const Tensor& params, const Tensor& masks, const Tensor& boxes,
                                  at::IntArrayRef layouts) {
    Place place(positions);
    const Tensor p = positions.contiguous(), be = columns(base_encoding), br = base_raw.contiguous();
    const int64_t n = p.size(0);
    Tensor residual = at::zeros({n, i3d::CUDA_OUTPUTS}, p.options()), speaks = at::zeros({n}, masks.options());
    Tensor members = members_of(p);
    for_type(p, [&](auto zero) {
        using R = decltype(zero);
        Grids<R> grids;
        grids.add(params, masks, boxes, layouts);
        const Tensor own = room_for(grids, p);
        auto* spoken = members.data_ptr<uint8_t>();
        for (const auto& grid : grids.host) {
            i3d::members_cuda<R>(grid, pointer<R>(p), n, spoken, speaks.data_ptr<uint8_t>(), place.stream());
            i3d::encode_forward_cuda<R>(grid, pointer<R>(p), spoken, n, columns_of<R>(own), place.stream());
            i3d::network_forward_cuda<R>(grid, {pointer<R>(own), pointer<R>(be), pointer<R>(br), int(be.size(0))}, spoken, n,
                                         pointer<R>(residual), place.stream());
        }
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return {residual, speaks};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> refine_backward(const Tensor& grad, const Tensor& positions,
                                                           const Tensor& base_encoding, const Tensor& base_raw,
                                                           const Tensor& params, const Tensor& masks,
                                                           const Tensor& boxes, at::IntArrayRef layouts,
                                                           bool want_positions, bool want_base, bool want_params) {
    Place place(positions);
    const Tensor g = grad.contiguous(), p = positions.contiguous(), be = columns(base_encoding);
    const Tensor br = base_raw.contiguous();
    const int64_t n = p.size(0), rows = want_base ? n : 0;
    Tensor grad_positions = at::zeros({want_positions ? n : 0, 3}, p.options());
    Tensor grad_base = at::zeros({be.size(0), rows}, p.options());
    Tensor grad_raw = at::zeros({rows, i3d::CUDA_OUTPUTS}, p.options());
    Tensor grad_params = at::zeros({want_params ? params.size(0) : 0}, params.options());
    Tensor members = members_of(p);
    for_type(p, [&](auto zero) {
        using R = decltype(zero);
        Grids<R> grids;
        grids.add(params, masks, boxes, layouts);
        const Tensor own = room_for(grids, p), grad_own = at::empty_like(own);
        auto* spoken = members.data_ptr<uint8_t>();
        for (int k = 0; k < grids.count(); ++k) {
            const auto& grid = grids.host[k];
            R* of_params = want_params ? pointer<R>(grad_params) + grids.offsets[k] : nullptr;
            i3d::members_cuda<R>(grid, pointer<R>(p), n, spoken, nullptr, place.stream());
            i3d::encode_forward_cuda<R>(grid, pointer<R>(p), spoken, n, columns_of<R>(own), place.stream());
            i3d::network_backward_cuda<R>(
                grid, {pointer<R>(own), pointer<R>(be), pointer<R>(br), int(be.size(0))}, spoken, n, pointer<R>(g), of_params,
                {pointer<R>(grad_own), want_base ? pointer<R>(grad_base) : nullptr, want_base ? pointer<R>(grad_raw) : nullptr},
                place.stream());
            i3d::encode_backward_cuda<R>(grid, pointer<R>(p), spoken, n, columns_of<const R>(grad_own), of_params,
                                         want_positions ? pointer<R>(grad_positions) : nullptr, place.stream());
        }
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return {grad_positions, grad_base.t(), grad_raw, grad_params};
}

std::tuple<Tensor, Tensor, Tensor> march(const Tensor& origins, const Tensor& directions, const Maybe& shifts,
                                         const Tensor& occupancy, const Maybe& limits, double step, double near) {
    Place place(origins);
    const Tensor o = origins.contiguous(), d = directions.contiguous(), cells = occupancy.contiguous();
    const Maybe s = contiguous(shifts), l = contiguous(limits);
    const int64_t n = o.size(0);
    Tensor offsets = at::zeros({n + 1}, o.options().dtype(at::kLong)), times, positions;
    for_type(o, [&](auto zero) {
        using R = decltype(zero);
        const R *from = pointer<R>(o), *way = pointer<R>(d), *shift = pointer<R>(s);
        const int side = int(cells.size(0));
        i3d::march_count_cuda<R>(from, way, shift, n, R(step), R(near), cells.data_ptr<uint8_t>(), side,
                                 l.has_value() ? l->data_ptr<int32_t>() : nullptr, offsets.data_ptr<int64_t>() + 1,
                                 place.stream());
        offsets = at::cumsum(offsets, 0);
        const int64_t total = offsets[n].template item<int64_t>();
        times = at::empty({total}, o.options());
        positions = at::empty({total, 3}, o.options());
        i3d::march_fill_cuda<R>(from, way, shift, n, R(step), R(near), cells.data_ptr<uint8_t>(), side,
                                offsets.data_ptr<int64_t>(), pointer<R>(times), pointer<R>(positions), place.stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return {times, positions, offsets};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> composite(const Tensor& raw, const Tensor& times, const Tensor& offsets,
                                                     double step, double stop) {
    Place place(raw);
    const Tensor r = raw.contiguous(), t = times.contiguous(), o = offsets.contiguous();
    const int64_t n = o.size(0) - 1;
    Tensor color = at::empty({n, 3}, r.options()), alpha = at::empty({n}, r.options()), depth = at::empty({n}, r.options());
    Tensor weights = at::empty({r.size(0)}, r.options());
    for_type(r, [&](auto zero) {
        using R = decltype(zero);
        i3d::composite_forward_cuda<R>(pointer<R>(r), pointer<R>(t), o.data_ptr<int64_t>(), n, R(step), R(stop),
                                       pointer<R>(color), pointer<R>(alpha), pointer<R>(depth), pointer<R>(weights),
                                       place.stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return {color, alpha, depth, weights};
}

Tensor composite_backward(const Maybe& grad_color, const Maybe& grad_alpha, const Maybe& grad_depth, const Tensor& raw,
                          const Tensor& times, const Tensor& offsets, double step, double stop) {
    Place place(raw);
    const Tensor r = raw.contiguous(), t = times.contiguous(), o = offsets.contiguous();
    const Maybe color = contiguous(grad_color), alpha = contiguous(grad_alpha), depth = contiguous(grad_depth);
    Tensor out = at::zeros({r.size(0), i3d::CUDA_OUTPUTS}, r.options());
    for_type(r, [&](auto zero) {
        using R = decltype(zero);
        i3d::composite_backward_cuda<R>(pointer<R>(r), pointer<R>(t), o.data_ptr<int64_t>(), o.size(0) - 1, R(step),
                                        R(stop), pointer<R>(color), pointer<R>(alpha), pointer<R>(depth), pointer<R>(out),
                                        place.stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return out;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> render(const Tensor& origins, const Tensor& directions, const Maybe& shifts,
                                                  const Tensor& occupancy, const Tensor& params, const Tensor& mask,
                                                  const Tensor& box, at::IntArrayRef layout, const Tensor& region_params,
                                                  const Tensor& region_masks, const Tensor& region_boxes,
                                                  at::IntArrayRef region_layouts, double step, double near, double empty,
                                                  double stop) {
    Place place(origins);
    const Tensor o = origins.contiguous(), d = directions.contiguous(), cells = occupancy.contiguous();
    const Maybe s = contiguous(shifts);
    const int64_t n = o.size(0);
    Tensor color = at::empty({n, 3}, o.options()), alpha = at::empty({n}, o.options()), depth = at::empty({n}, o.options());
    Tensor used = at::empty({n}, o.options().dtype(at::kInt));
    for_type(o, [&](auto zero) {
        using R = decltype(zero);
        Grids<R> grids;
        grids.add(params, mask.unsqueeze(0), box.unsqueeze(0), layout);
        if (!region_layouts.empty()) grids.add(region_params, region_masks, region_boxes, region_layouts);
        i3d::render_rays_cuda<R>(pointer<R>(o), pointer<R>(d), pointer<R>(s), n, R(step), R(near), cells.data_ptr<uint8_t>(),
                                 int(cells.size(0)), grids.on_device(place), grids.count() - 1, R(empty), R(stop),
                                 pointer<R>(color), pointer<R>(alpha), pointer<R>(depth), used.data_ptr<int32_t>(),
                                 place.stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return {color, alpha, depth, used};
}

}  // namespace

TORCH_LIBRARY_IMPL(i3d, CUDA, m) {
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
