"""Time stepping of semi-discretised PDEs: explicit, exponential and adaptive steps."""
