"""Many runs of one width, trained as one program."""
