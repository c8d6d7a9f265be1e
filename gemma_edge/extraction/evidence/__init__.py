"""Where values stand in their document, and how sure the model was of them."""
