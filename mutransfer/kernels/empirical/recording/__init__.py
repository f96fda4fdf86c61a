"""Operations of one forward pass, recorded with what their gradients need."""
