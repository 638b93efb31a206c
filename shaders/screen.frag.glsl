#version 330 core
// Lays a premultiplied picture over what is there; `split` shows another picture left of a line.

in vec2 place;

uniform sampler2D picture;
uniform sampler2D other;
uniform float split;        // share of the width that shows `other`; 0 shows none of it

out vec4 color;

void main() {
    color = place.x < split ? texture(other, place) : texture(picture, place);
}
