"""What a person sees of a run: pictures, figures, one page."""
