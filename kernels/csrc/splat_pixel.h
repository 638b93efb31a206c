// Compositing of one blob into one pixel, or into a register of them, forward and backward.
#pragma once

#include "simd.h"

namespace i3d {

constexpr double ALPHA_MAX = 0.999;  // keeps 1 - alpha, by which the backward pass divides, away from zero

template <class V>
struct PixelColor {
    V red, green, blue, depth;
};

// Alpha from its base-2 logarithm, 0 where `hit` is false.
template <class V>
I3D_INLINE V alpha_where(V log_alpha, Mask<V> hit) {
    const V alpha = smaller<V>(power_of_two(log_alpha), splat<V>(Scalar<V>(ALPHA_MAX)));
    return choose(hit, alpha, V{});
}

// What the backward pass carries from blob to blob, back to front.
template <class V>
struct PixelState {
    V transmittance;  // behind the blob before the step, in front of it after
    V behind;         // what everything behind contributes to the loss through this pixel's transmittance
};

// One blob's share of the loss: returns d loss / d log(alpha) and puts the blob's weight into `weight`.
// `value` is the blob's colour and depth dotted with the pixel's gradients.
template <class V>
I3D_INLINE V blend_backward(V log_alpha, Mask<V> hit, V value, PixelState<V>& pixel, V& weight) {
    using R = Scalar<V>;
    const V raw = power_of_two(log_alpha);
    const V cap = splat<V>(R(ALPHA_MAX));
    const V alpha = choose(hit, smaller<V>(raw, cap), V{});
    const V inverse = R(1) / (R(1) - alpha);
    pixel.transmittance *= inverse;
    weight = alpha * pixel.transmittance;
    const V slope = pixel.transmittance * value - pixel.behind * inverse;
    pixel.behind += weight * value;
    return choose(raw <= cap, V(alpha * slope), V{});  // a capped alpha does not move
}

}  // namespace i3d
