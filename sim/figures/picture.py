"""A figure that notebooks show by themselves, without pyplot's global state."""

from io import BytesIO

from matplotlib.figure import Figure

DPI = 110  # on a screen


class Picture(Figure):
    """A matplotlib figure that IPython displays as it is."""

    def _repr_png_(self) -> bytes:
        buffer = BytesIO()
        self.savefig(buffer, format="png", dpi=DPI)
        return buffer.getvalue()
