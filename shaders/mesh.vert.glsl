#version 330 core
// A mesh's corners. Clip space has its first row at the top.

in vec3 place;
in vec3 normal;
in vec3 hue;

uniform mat4 world_to_clip;

out vec3 world;
out vec3 outward;
out vec3 paint;

void main() {
    world = place;
    outward = normal;
    paint = hue;
    gl_Position = world_to_clip * vec4(place, 1.0);
}
