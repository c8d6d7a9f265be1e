"""What is drawn on a terminal and typed into one, whatever the command."""
