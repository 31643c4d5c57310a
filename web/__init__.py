"""Everything that speaks HTTP to people and programs; holds no rule."""
