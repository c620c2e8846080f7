from .figures import save_figures as save_figures
from .gallery import Gallery as Gallery
from .gallery import GallerySet as GallerySet
from .gallery import write_gallery as write_gallery
from .html import write_report as write_report
