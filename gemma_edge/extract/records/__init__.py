"""One document's answer as a record of a batch, and the forms in which records are kept."""
