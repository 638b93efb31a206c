"""Stage II: the object as a hash-grid field, its refinement by regions, and the mesh that comes out (paper section 3.2)."""

from interactive3d.runtime.field.field import HashGridField, Region
from interactive3d.runtime.field.files import load_field, save_field
from interactive3d.runtime.field.rendering import render_field

__all__ = ["HashGridField", "Region", "load_field", "render_field", "save_field"]
