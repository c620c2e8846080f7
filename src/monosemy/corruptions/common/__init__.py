"""The 15 common corruptions of Hendrycks and Dietterich (arXiv 1903.12261) at 5 severities, made on the fly.

Own code after the published definitions and with the published parameters, a batch at a time. Three things are not
those of the published files: pixels are not rounded to 256 levels (but for JPEG), frost is drawn instead of
photographed, and ImageMagick's motion blur is written anew.
"""

from monosemy.corruptions.common.apply import check_images, corrupt
from monosemy.corruptions.common.severity import KINDS, SEVERITIES, Kind, parameters, table_side

__all__ = ["KINDS", "SEVERITIES", "Kind", "check_images", "corrupt", "parameters", "table_side"]
