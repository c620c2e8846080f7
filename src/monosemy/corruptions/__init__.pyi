from .common import KINDS as KINDS
from .common import corrupt as corrupt
from .inputs import corrupt_images as corrupt_images
from .inputs import corrupt_texts as corrupt_texts
from .labels import few_labels as few_labels
from .labels import informative_rates as informative_rates
from .labels import matrix_noise as matrix_noise
from .labels import pair_noise as pair_noise
