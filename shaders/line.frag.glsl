#version 330 core

in vec4 shade;
in float across;
flat in float half_width;

out vec4 color;

void main() {
    float alpha = shade.a * clamp(half_width + 0.5 - abs(across), 0.0, 1.0);
    color = vec4(shade.rgb * alpha, alpha);
}
