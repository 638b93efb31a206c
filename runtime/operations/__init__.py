"""What each operation of the language does to the scene: one file for each interaction of the paper."""
