"""A trained rule as a page on which it runs live: its program, made into shaders of WebGL2."""
