"""Hardware, model and wishes to a Plan: arithmetic and checks, nothing is loaded."""
