"""HTTP in: routes, limits and answers. No decisions."""
