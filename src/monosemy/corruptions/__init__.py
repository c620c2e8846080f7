"""Ways of making data worse: label noise, input noise on images and texts, few labels."""
