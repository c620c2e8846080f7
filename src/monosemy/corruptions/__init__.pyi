from .common import KINDS as KINDS
from .common import corrupt as corrupt
from .inputs import corrupt_images as corrupt_images
from .inputs import token_drops as token_drops
from .inputs import typos as typos
from .labels import few_labels as few_labels
from .labels import matrix_noise as matrix_noise
from .labels import pair_noise as pair_noise
