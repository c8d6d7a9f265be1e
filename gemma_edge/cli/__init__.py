"""The door: parse, dispatch, render; no decisions."""
