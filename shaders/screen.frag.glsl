#version 330 core
// Lays a premultiplied picture over what is there.

in vec2 place;

uniform sampler2D picture;

out vec4 color;

void main() {
    color = texture(picture, place);
}
