from .figures import save_figures as save_figures
from .gallery import Gallery as Gallery, GallerySet as GallerySet, write_gallery as write_gallery
from .html import write_report as write_report
