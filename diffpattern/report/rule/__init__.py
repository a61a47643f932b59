"""What a trained rule says: charts of what was read off it, and the chapter that shows them."""
