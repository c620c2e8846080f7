from .figures import accuracy_figure as accuracy_figure
from .figures import gain_figure as gain_figure
from .figures import save_figures as save_figures
from .gallery import Gallery as Gallery
from .gallery import write_gallery as write_gallery
from .html import write_report as write_report
from .latex import paper_table as paper_table
from .terminal import print_result as print_result
