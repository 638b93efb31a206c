#version 330 core
// A blob's alpha at a pixel, premultiplied: blended with (one, one minus alpha).

flat in vec3 conic;
flat in vec4 paint;
in vec2 offset;

out vec4 color;

const float ALPHA_MIN = 1.0 / 255.0;
const float ALPHA_MAX = 0.999;

void main() {
    float power = -0.5 * (conic.x * offset.x * offset.x + conic.z * offset.y * offset.y) - conic.y * offset.x * offset.y;
    float alpha = min(paint.a * exp(power), ALPHA_MAX);
    if (alpha < ALPHA_MIN) discard;
    color = vec4(paint.rgb * alpha, alpha);
}
