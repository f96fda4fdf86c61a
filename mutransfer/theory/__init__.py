"""Tables of exponents, how they are classified, and what each regime predicts. Needs no torch."""
