"""The window: GLFW and Dear ImGui around an OpenGL viewport. Nobody imports this but the command line."""
