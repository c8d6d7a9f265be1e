"""Talk: a conversation over the Engine protocol."""
