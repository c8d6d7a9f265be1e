"""How right answers are against gold data, and what differs between two sets."""
