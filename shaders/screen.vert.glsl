#version 330 core
// One triangle that covers the picture. Pictures are kept with their first row at the bottom of OpenGL's space, where the screen has its last.

uniform float up = 1.0;     // -1 for the screen

out vec2 place;

void main() {
    vec2 corner = vec2(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0);
    place = 0.5 * corner + 0.5;
    gl_Position = vec4(corner.x, up * corner.y, 0.0, 1.0);
}
