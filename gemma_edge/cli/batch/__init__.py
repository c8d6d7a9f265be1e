"""Many files through one model: found, read ahead, answered, recorded."""
