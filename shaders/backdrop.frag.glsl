#version 330 core
// What lies behind the object: a gradient from top to bottom, or a checker board.

in vec2 place;

uniform vec3 top;
uniform vec3 bottom;
uniform vec2 size;          // pixels
uniform float checker;      // side of a field in pixels; 0 for a gradient

out vec4 color;

void main() {
    vec3 shade = mix(top, bottom, place.y);
    if (checker > 0.0) {
        vec2 field = floor(place * size / checker);
        shade = mod(field.x + field.y, 2.0) < 0.5 ? top : bottom;
    }
    color = vec4(shade, 1.0);
}
