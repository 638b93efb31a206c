"""Files that leave the tool: splats, video, pictures, run folders."""
