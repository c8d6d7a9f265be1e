"""What printed values mean: dates, amounts, numbers, codes; by code and never by the model."""
