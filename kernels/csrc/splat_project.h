// Projection of a blob to a camera, forward and backward. Written for V = a plain number or a register of them.
// EWA splatting (Zwicker et al. 2002) with gsplat's conventions; see kernels/splat_raster.py.
//
// The 2D Gaussian is kept in the form that compositing wants. With dy the vertical distance to the centre and
// u = dx - slope * dy the horizontal distance to the ridge of the row,
//     log2(alpha) = height + q * dy^2 + k * u^2,
// which is the usual quadratic form with its square completed: no cancellation however long and thin the blob.
#pragma once

#include "simd.h"

namespace i3d {

template <class R>
struct Camera {
    R rotation[9], translation[3];  // world to camera
    R fx, fy, cx, cy;
    R low_x, high_x, low_y, high_y;  // bounds of x/z and y/z at which the Jacobian is taken
    R width, height, near, far, blur, log_alpha_min, alpha_min;
};

// Camera `index` of `viewmats` (c, 4, 4) and `intrinsics` (c, 4).
template <class R>
I3D_INLINE Camera<R> camera_from(const R* viewmats, const R* intrinsics, int64_t index, R width, R height, R near, R far,
                                 R blur, R alpha_min) {
    constexpr R MARGIN = R(0.15);  // of the field of view on each side, beyond which the Jacobian's centre is held
    const R* view = viewmats + 16 * index;
    const R* k = intrinsics + 4 * index;
    Camera<R> c;
    for (int i = 0; i < 3; ++i) {
        for (int j = 0; j < 3; ++j) c.rotation[3 * i + j] = view[4 * i + j];
        c.translation[i] = view[4 * i + 3];
    }
    c.fx = k[0], c.fy = k[1], c.cx = k[2], c.cy = k[3];
    c.width = width, c.height = height;
    c.low_x = -(c.cx + MARGIN * width) / c.fx, c.high_x = (width * (1 + MARGIN) - c.cx) / c.fx;
    c.low_y = -(c.cy + MARGIN * height) / c.fy, c.high_y = (height * (1 + MARGIN) - c.cy) / c.fy;
    c.near = near, c.far = far, c.blur = blur;
    c.alpha_min = alpha_min, c.log_alpha_min = log_two(alpha_min);
    return c;
}

// What a projected blob is kept as: SPLAT_FIELDS numbers in a row (one cache line in float32).
enum SplatField { MEAN_X, MEAN_Y, SLOPE, K, Q, HEIGHT, RED, GREEN, BLUE, DEPTH, INVERSE_K, RADIUS_X, RADIUS_Y, RIDGE, ALPHA, SPARE, SPLAT_FIELDS };
// RADIUS_X, RADIUS_Y: pixels from the centre to where alpha falls under alpha_min; RADIUS_X < 0 marks a blob that is not drawn.
// RIDGE: dy / dx of the line from the centre to the rightmost point. INVERSE_K: -1 / K. ALPHA: the opacity.

// Sums over a blob's pixels that the backward pass of compositing leaves; g is d loss / d log(alpha).
enum MomentField { G, G_Y, G_YY, G_U, G_UU, G_UY, GRAD_RED, GRAD_GREEN, GRAD_BLUE, GRAD_DEPTH, MOMENT_FIELDS };

constexpr double LOG2_E = 1.44269504088896340736;
constexpr double DETERMINANT_MIN = 1e-10;  // pixels^4; flatter blobs are not drawn

template <class V>
struct BlobShape {
    V mean[3];
    V scale[3];
    V turn[4];      // normalised quaternion wxyz
    V turn_norm;    // length before normalising
    V rotation[9];  // row major
    V axes[9];      // rotation * diag(scale)
};

template <class V>
I3D_INLINE void shape_from(const V mean[3], const V scale[3], const V quaternion[4], BlobShape<V>& shape) {
    using R = Scalar<V>;
    V sum = V{};
    for (int i = 0; i < 4; ++i) sum += quaternion[i] * quaternion[i];
    shape.turn_norm = larger<V>(root(sum), splat<V>(R(1e-12)));
    for (int i = 0; i < 4; ++i) shape.turn[i] = quaternion[i] / shape.turn_norm;
    const V w = shape.turn[0], x = shape.turn[1], y = shape.turn[2], z = shape.turn[3];
    V* r = shape.rotation;
    r[0] = R(1) - R(2) * (y * y + z * z);
    r[1] = R(2) * (x * y - w * z);
    r[2] = R(2) * (x * z + w * y);
    r[3] = R(2) * (x * y + w * z);
    r[4] = R(1) - R(2) * (x * x + z * z);
    r[5] = R(2) * (y * z - w * x);
    r[6] = R(2) * (x * z - w * y);
    r[7] = R(2) * (y * z + w * x);
    r[8] = R(1) - R(2) * (x * x + y * y);
    for (int i = 0; i < 3; ++i) {
        shape.mean[i] = mean[i];
        shape.scale[i] = scale[i];
    }
    for (int i = 0; i < 9; ++i) shape.axes[i] = r[i] * scale[i % 3];
}

// A blob seen by one camera: everything that both directions need.
template <class V>
struct View {
    V x, y, z;         // camera space
    V axes[9];         // the blob's axes in camera space
    V jx, jy, tx, ty;  // focal / z, and the clamped x/z, y/z
    Mask<V> free_x, free_y;
    V a[3], b[3];  // rows of Jacobian * axes
    V xx, xy, yy;  // 2D covariance, low-pass included
    V determinant;
};

template <class V>
I3D_INLINE View<V> view_from(const BlobShape<V>& shape, const Camera<Scalar<V>>& camera) {
    View<V> v;
    const auto* r = camera.rotation;
    const V* m = shape.mean;
    v.x = r[0] * m[0] + r[1] * m[1] + r[2] * m[2] + camera.translation[0];
    v.y = r[3] * m[0] + r[4] * m[1] + r[5] * m[2] + camera.translation[1];
    v.z = r[6] * m[0] + r[7] * m[1] + r[8] * m[2] + camera.translation[2];
    for (int i = 0; i < 3; ++i)
        for (int j = 0; j < 3; ++j)
            v.axes[3 * i + j] =
                r[3 * i] * shape.axes[j] + r[3 * i + 1] * shape.axes[3 + j] + r[3 * i + 2] * shape.axes[6 + j];
    const V inverse = Scalar<V>(1) / v.z;
    v.jx = camera.fx * inverse;
    v.jy = camera.fy * inverse;
    const V tx = v.x * inverse, ty = v.y * inverse;
    v.tx = smaller<V>(larger<V>(tx, splat<V>(camera.low_x)), splat<V>(camera.high_x));
    v.ty = smaller<V>(larger<V>(ty, splat<V>(camera.low_y)), splat<V>(camera.high_y));
    v.free_x = v.tx == tx;
    v.free_y = v.ty == ty;
    v.xx = splat<V>(camera.blur);
    v.yy = splat<V>(camera.blur);
    v.xy = V{};
    for (int j = 0; j < 3; ++j) {
        v.a[j] = v.jx * (v.axes[j] - v.tx * v.axes[6 + j]);
        v.b[j] = v.jy * (v.axes[3 + j] - v.ty * v.axes[6 + j]);
        v.xx += v.a[j] * v.a[j];
        v.xy += v.a[j] * v.b[j];
        v.yy += v.b[j] * v.b[j];
    }
    // |a x b|^2 + blur (|a|^2 + |b|^2) + blur^2: xx yy - xy^2 without its cancellation.
    const V cx = v.a[1] * v.b[2] - v.a[2] * v.b[1];
    const V cy = v.a[2] * v.b[0] - v.a[0] * v.b[2];
    const V cz = v.a[0] * v.b[1] - v.a[1] * v.b[0];
    v.determinant = cx * cx + cy * cy + cz * cz + camera.blur * (v.xx + v.yy - camera.blur);
    return v;
}

// Fills `out[SPLAT_FIELDS]`; a blob that is not drawn gets RADIUS_X = -1 and a negative depth.
template <class V>
I3D_INLINE void project(const BlobShape<V>& shape, const V color[3], V opacity, const V shift[2],
                        const Camera<Scalar<V>>& camera, V out[SPLAT_FIELDS]) {
    using R = Scalar<V>;
    const View<V> v = view_from(shape, camera);
    const V across = v.determinant / v.yy;  // variance along x at fixed y
    const V height = log_two(larger<V>(opacity, splat<V>(R(1e-30))));
    const V extent = root(larger<V>(R(2 / LOG2_E) * (height - camera.log_alpha_min), V{}));
    out[MEAN_X] = v.jx * v.x + camera.cx + shift[0];
    out[MEAN_Y] = v.jy * v.y + camera.cy + shift[1];
    out[SLOPE] = v.xy / v.yy;
    out[K] = R(-0.5 * LOG2_E) / across;
    out[Q] = R(-0.5 * LOG2_E) / v.yy;
    out[HEIGHT] = height;
    out[RED] = color[0];
    out[GREEN] = color[1];
    out[BLUE] = color[2];
    out[DEPTH] = v.z;
    out[INVERSE_K] = across * R(2 / LOG2_E);
    const V radius_x = extent * root(v.xx);
    out[RADIUS_Y] = extent * root(v.yy);
    out[RIDGE] = v.xy / v.xx;
    out[ALPHA] = opacity;
    out[SPARE] = V{};
    V sum = color[0] + color[1] + color[2];
    for (int i = 0; i < 4; ++i) sum += shape.turn[i] / shape.turn_norm;
    const Mask<V> drawn = (v.z > camera.near) & (v.z < camera.far) & (opacity >= camera.alpha_min) &
                          (v.determinant > R(DETERMINANT_MIN)) & is_finite<V>(sum) & is_finite<V>(opacity) &
                          is_finite<V>(out[MEAN_X]) & is_finite<V>(out[MEAN_Y]) & is_finite<V>(radius_x) &
                          is_finite<V>(out[RADIUS_Y]) & is_finite<V>(out[K]) &
                          (out[MEAN_X] + radius_x > V{}) & (out[MEAN_X] - radius_x < camera.width) &
                          (out[MEAN_Y] + out[RADIUS_Y] > V{}) & (out[MEAN_Y] - out[RADIUS_Y] < camera.height);
    out[RADIUS_X] = choose(drawn, radius_x, splat<V>(R(-1)));
}

// The gradients of one blob, summed over cameras; `axes` is with respect to BlobShape::axes.
template <class V>
struct ShapeGrad {
    V mean[3], axes[9], color[3], opacity;
};

// Adds one camera's share, given the moments of compositing. `drawn` masks blobs that this camera does not show, whose
// numbers may be anything. `pixel` gets the gradient of the projected centre.
template <class V>
I3D_INLINE void project_backward(const BlobShape<V>& shape, V opacity, const Camera<Scalar<V>>& camera, Mask<V> drawn,
                                 const V moments[MOMENT_FIELDS], ShapeGrad<V>& grad, V pixel[2]) {
    using R = Scalar<V>;
    const View<V> v = view_from(shape, camera);
    const V inverse_yy = R(1) / v.yy;
    const V slope = v.xy * inverse_yy;
    const V inverse_across = v.yy / v.determinant;
    const V k = R(-0.5) * inverse_across, q = R(-0.5) * inverse_yy;  // of the natural logarithm
    const V ku = R(2) * k;
    pixel[0] = choose(drawn, V(-ku * moments[G_U]), V{});
    pixel[1] = choose(drawn, V(ku * slope * moments[G_U] - R(2) * q * moments[G_Y]), V{});
    const V grad_across = -k * inverse_across * moments[G_UU];
    const V grad_xx = grad_across;
    const V grad_xy = -ku * moments[G_UY] * inverse_yy - R(2) * slope * grad_across;
    const V grad_yy = -q * inverse_yy * moments[G_YY] + slope * slope * grad_across + ku * moments[G_UY] * slope * inverse_yy;

    V x = pixel[0] * v.jx, y = pixel[1] * v.jy;
    const V inverse = R(1) / v.z;
    V z = moments[GRAD_DEPTH] - (x * v.x + y * v.y) * inverse;
    V axes[9];
    V jx = V{}, jy = V{}, tx = V{}, ty = V{};
    for (int j = 0; j < 3; ++j) {
        const V a = R(2) * grad_xx * v.a[j] + grad_xy * v.b[j];
        const V b = R(2) * grad_yy * v.b[j] + grad_xy * v.a[j];
        axes[j] = v.jx * a;
        axes[3 + j] = v.jy * b;
        axes[6 + j] = -(v.tx * axes[j] + v.ty * axes[3 + j]);
        jx += a * v.a[j];
        jy += b * v.b[j];
        tx -= axes[j] * v.axes[6 + j];
        ty -= axes[3 + j] * v.axes[6 + j];
    }
    z -= (jx + jy) * inverse;
    tx = choose(v.free_x, V(tx * inverse), V{});
    ty = choose(v.free_y, V(ty * inverse), V{});
    x += tx;
    y += ty;
    z -= tx * v.tx + ty * v.ty;

    const auto* r = camera.rotation;
    for (int i = 0; i < 3; ++i) grad.mean[i] += choose(drawn, V(r[i] * x + r[3 + i] * y + r[6 + i] * z), V{});
    for (int i = 0; i < 3; ++i)
        for (int j = 0; j < 3; ++j)
            grad.axes[3 * i + j] +=
                choose(drawn, V(r[i] * axes[j] + r[3 + i] * axes[3 + j] + r[6 + i] * axes[6 + j]), V{});
    for (int i = 0; i < 3; ++i) grad.color[i] += choose(drawn, moments[GRAD_RED + i], V{});
    grad.opacity += choose(drawn, V(moments[G] / opacity), V{});
}

// From the gradient of the axes to those of scale and quaternion. A blob that no camera shows has `seen` false.
template <class V>
I3D_INLINE void shape_backward(const BlobShape<V>& shape, const ShapeGrad<V>& grad, Mask<V> seen, V scale[3],
                               V quaternion[4]) {
    using R = Scalar<V>;
    V g[9];
    for (int j = 0; j < 3; ++j) {
        V sum = V{};
        for (int i = 0; i < 3; ++i) {
            sum += grad.axes[3 * i + j] * shape.rotation[3 * i + j];
            g[3 * i + j] = grad.axes[3 * i + j] * shape.scale[j];
        }
        scale[j] = choose(seen, sum, V{});
    }
    const V w = shape.turn[0], x = shape.turn[1], y = shape.turn[2], z = shape.turn[3];
    V t[4];
    t[0] = R(2) * (x * (g[7] - g[5]) + y * (g[2] - g[6]) + z * (g[3] - g[1]));
    t[1] = R(2) * (y * (g[1] + g[3]) + z * (g[2] + g[6]) + w * (g[7] - g[5]) - R(2) * x * (g[4] + g[8]));
    t[2] = R(2) * (x * (g[1] + g[3]) + z * (g[5] + g[7]) + w * (g[2] - g[6]) - R(2) * y * (g[0] + g[8]));
    t[3] = R(2) * (x * (g[2] + g[6]) + y * (g[5] + g[7]) + w * (g[3] - g[1]) - R(2) * z * (g[0] + g[4]));
    V along = V{};
    for (int i = 0; i < 4; ++i) along += t[i] * shape.turn[i];
    for (int i = 0; i < 4; ++i)
        quaternion[i] = choose(seen, V((t[i] - along * shape.turn[i]) / shape.turn_norm), V{});
}

}  // namespace i3d
