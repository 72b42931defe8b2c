"""Views: the comparison on screen, linked, equally bright and outlined."""
