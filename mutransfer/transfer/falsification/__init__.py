"""The negative control: would it also happen if the features were frozen?"""
