#version 330 core
// Lines of any width in pixels with soft edges: one instanced quad a segment. Clip space has its first row at the top.

in vec3 from;
in vec3 to;
in vec4 hue;
in float width;             // pixels

uniform mat4 world_to_clip;
uniform vec2 size;          // pixels

out vec4 shade;
out float across;           // pixels from the middle of the line
flat out float half_width;

const float NEAR = 0.01;

void main() {
    vec4 a = world_to_clip * vec4(from, 1.0);
    vec4 b = world_to_clip * vec4(to, 1.0);
    if (a.w < NEAR && b.w < NEAR) {
        gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
        return;
    }
    // A line that crosses the camera's plane is cut there, or its far end would appear on the wrong side.
    if (a.w < NEAR) a = mix(a, b, (NEAR - a.w) / (b.w - a.w));
    if (b.w < NEAR) b = mix(b, a, (NEAR - b.w) / (a.w - b.w));
    vec2 pa = a.xy / a.w * 0.5 * size;
    vec2 pb = b.xy / b.w * 0.5 * size;
    vec2 along = pb - pa;
    float length_ = length(along);
    along = length_ < 1e-6 ? vec2(1.0, 0.0) : along / length_;
    vec2 side = vec2(-along.y, along.x);
    float reach = 0.5 * width + 1.0;
    vec2 corner = vec2((gl_VertexID & 1) == 0 ? -1.0 : 1.0, (gl_VertexID & 2) == 0 ? -1.0 : 1.0);
    vec4 end = corner.x < 0.0 ? a : b;
    vec2 pixel = (corner.x < 0.0 ? pa : pb) + along * corner.x * 0.5 + side * corner.y * reach;
    gl_Position = vec4(pixel / (0.5 * size), 0.0, 1.0);
    shade = hue;
    across = corner.y * reach;
    half_width = 0.5 * width;
}
