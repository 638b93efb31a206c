#version 330 core
// Lit from the camera, both sides alike, so that holes and turned faces do not hide.

in vec3 world;
in vec3 outward;
in vec3 paint;

uniform vec3 eye;

out vec4 color;

const float DARKEST = 0.45;

void main() {
    float facing = abs(dot(normalize(outward + vec3(1e-9)), normalize(eye - world)));
    color = vec4(paint * mix(DARKEST, 1.0, facing), 1.0);
}
