"""The index: compiled rules as rows of bits, and the decision made from them."""
