"""Recipes: a schema with what an expert knows beside it. ``shipped/`` holds ours."""
