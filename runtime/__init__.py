"""Everything that has effects: the scene, its guidance, the engine, files, the window and the command line."""
