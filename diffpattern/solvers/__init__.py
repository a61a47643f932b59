"""Time stepping of semi-discretised PDEs: explicit fixed steps and adaptive steps."""
