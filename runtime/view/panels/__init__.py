"""The panels of the window, one file each. A panel reads the application's state and asks it for operations."""
