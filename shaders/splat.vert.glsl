#version 330 core
// One quad per blob, back to front, four vertices each: a software renderer draws one long list ten times quicker than as
// many instances. EWA projection (Zwicker et al. 2002) with the rasterizer's own conventions:
// OpenCV camera space, a low-pass of 0.3 square pixels, the Jacobian's centre clamped to 1.3 times the field of view.

uniform usampler2D order;   // rows from the farthest to the nearest
uniform sampler2D blobs;     // four texels a blob: mean + opacity, covariance xx xy xz yy, covariance yz zz + flags, colour
uniform mat3 camera_turn;   // world to camera
uniform vec3 camera_shift;
uniform vec2 focal;         // pixels
uniform vec2 centre;        // pixels
uniform vec2 size;          // pixels
uniform mat3 moved_turn;    // what a gizmo does to the selection, before it is let go
uniform vec3 moved_shift;
uniform vec4 tint;          // colour of the selection, and how strong
uniform float dot_radius;   // pixels; above 0 every blob is drawn as a dot of this radius

flat out vec3 conic;
flat out vec4 paint;
out vec2 offset;

const float BLUR = 0.3;
const float ALPHA_MIN = 1.0 / 255.0;
const float NEAR = 0.01;
const float SELECTED = 1.0;
const float HIDDEN = 2.0;
const int BLOBS_A_ROW = 1024;
const int ORDERS_A_ROW = 4096;

void discard_blob() {
    gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
    conic = vec3(1.0, 0.0, 1.0);
    paint = vec4(0.0);
    offset = vec2(0.0);
}

void main() {
    int place = gl_VertexID >> 2;
    int row = int(texelFetch(order, ivec2(place % ORDERS_A_ROW, place / ORDERS_A_ROW), 0).r);
    ivec2 at = ivec2(4 * (row % BLOBS_A_ROW), row / BLOBS_A_ROW);
    vec4 a = texelFetch(blobs, at, 0);
    vec4 b = texelFetch(blobs, at + ivec2(1, 0), 0);
    vec4 c = texelFetch(blobs, at + ivec2(2, 0), 0);
    vec4 d = texelFetch(blobs, at + ivec2(3, 0), 0);
    float flags = c.z;
    bool selected = mod(flags, 2.0) >= SELECTED;
    vec3 mean = a.xyz;
    mat3 covariance = mat3(b.x, b.y, b.z, b.y, b.w, c.x, b.z, c.x, c.y);
    if (selected) {
        mean = moved_turn * mean + moved_shift;
        covariance = moved_turn * covariance * transpose(moved_turn);
    }
    vec3 p = camera_turn * mean + camera_shift;
    if (p.z <= NEAR || a.w < ALPHA_MIN || flags >= HIDDEN) {
        discard_blob();
        return;
    }
    vec2 margin = 0.15 * size / focal;
    vec2 ray = clamp(p.xy / p.z, -centre / focal - margin, (size - centre) / focal + margin);
    vec3 rx = vec3(focal.x / p.z, 0.0, -focal.x * ray.x / p.z);
    vec3 ry = vec3(0.0, focal.y / p.z, -focal.y * ray.y / p.z);
    mat3 back = transpose(camera_turn);
    vec3 wx = back * rx;
    vec3 wy = back * ry;
    float xx = dot(wx, covariance * wx) + BLUR;
    float xy = dot(wx, covariance * wy);
    float yy = dot(wy, covariance * wy) + BLUR;
    float opacity = a.w;
    if (dot_radius > 0.0) {
        xx = yy = dot_radius * dot_radius / 4.0;
        xy = 0.0;
        opacity = 1.0;
    }
    float determinant = xx * yy - xy * xy;
    if (determinant <= 1e-10) {
        discard_blob();
        return;
    }
    // The quad lies along the ellipse's axes and ends where alpha falls under ALPHA_MIN: no fragment is drawn in vain.
    float reach = 2.0 * log(opacity / ALPHA_MIN);
    float middle = 0.5 * (xx + yy);
    float apart = sqrt(max(0.25 * (xx - yy) * (xx - yy) + xy * xy, 0.0));
    vec2 long_axis = apart < 1e-6 ? vec2(1.0, 0.0)
                   : (xx > yy ? normalize(vec2(middle + apart - yy, xy)) : normalize(vec2(xy, middle + apart - xx)));
    vec2 short_axis = vec2(-long_axis.y, long_axis.x);
    float long_side = sqrt(reach * (middle + apart));
    float short_side = sqrt(reach * max(middle - apart, 0.0));
    vec2 corner = vec2((gl_VertexID & 1) == 0 ? -1.0 : 1.0, (gl_VertexID & 2) == 0 ? -1.0 : 1.0);
    offset = corner.x * long_side * long_axis + corner.y * short_side * short_axis;
    vec2 pixel = focal * p.xy / p.z + centre;
    // The picture is kept with its first row at the top, as images are.
    gl_Position = vec4(2.0 * (pixel + offset) / size - 1.0, 0.0, 1.0);
    conic = vec3(yy, -xy, xx) / determinant;
    vec3 color = clamp(d.rgb, 0.0, 1.0);
    if (selected) color = mix(color, tint.rgb, tint.a);
    paint = vec4(color, opacity);
}
