"""Schemas: from what a person gives to what holds the decoder and judges the answer."""
