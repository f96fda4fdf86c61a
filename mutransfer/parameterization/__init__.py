"""The way from theory to a wrapped model: rules, roles, the Plan, and applying it. Needs torch and numpy only."""
